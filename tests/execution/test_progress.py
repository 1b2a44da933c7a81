"""Progress where there is no terminal: plain lines, few of them."""

import io
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline import cli
from pipeline.execution import progress


def test_of_a_bar_a_line_per_half_minute_is_left(monkeypatch):
    written, now = io.StringIO(), 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    stream = progress.PlainLines(written)
    for step in range(0, 100, 10):
        now = float(step)
        stream.write(f"\rtrain: {step} of 100 epochs   \x1b[A")
    stream.write("\n")
    stream.write("done\n")
    assert (
        written.getvalue()
        == "train: 0 of 100 epochs\ntrain: 30 of 100 epochs\ntrain: 60 of 100 epochs\ntrain: 90 of 100 epochs\ndone\n"
    )


def test_the_first_of_many_foretells_nothing(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(progress, "INTERVAL", -1.0)
    stream = progress.PlainLines(written)
    for done in ("1", "2"):
        stream.write(f"\ra fold 0: {done} of 216, 00:33 so far, 1:59:13 to go, RMSE 0.1")
    first, second = written.getvalue().splitlines()
    assert first == "a fold 0: 1 of 216, 00:33 so far, RMSE 0.1"
    assert second.endswith("2 of 216, 00:33 so far, 1:59:13 to go, RMSE 0.1")


def test_other_text_stays_as_it_is():
    written = io.StringIO()
    stream = progress.PlainLines(written)
    for text in ("one", "\n", "", "\x1b[31mtwo\tthree\x1b[0m\n", "Traceback:\n\n  four\n"):
        stream.write(text)
    assert written.getvalue() == "one\ntwo\tthree\nTraceback:\n\n  four\n"


def test_bars_below_each_other_leave_no_empty_lines():
    written = io.StringIO()
    stream = progress.PlainLines(written)
    for text in ("\router: 1 of 2", "\n", "\rinner: 3 of 4", "\x1b[A", "\n", "\r      ", "\x1b[A", "done\n"):
        stream.write(text)
    assert written.getvalue() == "outer: 1 of 2\ndone\n"


def test_a_command_whose_output_is_a_file_writes_no_control_characters(tmp_path):
    (tmp_path / "long.py").write_text(
        "import os, time\n"
        "from pipeline import program\n"
        "from pipeline.execution import progress\n"
        "progress.SETTINGS |= {'TQDM_MININTERVAL': '0.01', 'TQDM_DELAY': '0.05'}\n"
        "progress.INTERVAL = 0.1\n"
        "def main():\n"
        "    from tqdm import tqdm\n"
        "    for leave in (True, False):\n"
        "        for _ in tqdm(range(50), desc='work', unit='galaxy', leave=leave): time.sleep(0.01)\n"
        "    for _ in tqdm(range(3), desc='short', unit='galaxy'): pass\n"
        "program.start(main)\n"
    )
    made = subprocess.run(
        [sys.executable, tmp_path / "long.py"],
        env={k: v for k, v in os.environ.items() if not k.startswith("TQDM_")} | {"PYTHONPATH": str(cli.OUTPUT.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = made.stderr.splitlines()
    assert 4 <= len(lines) <= 14
    assert all(line.startswith("work: ") and " of 50, " in line for line in lines)
    assert not {char for char in made.stderr if ord(char) < 32} - {"\n"}


@pytest.mark.parametrize(("terminal", "plain"), [("xterm", False), ("dumb", True)])
def test_a_terminal_that_can_move_no_cursor_is_written_to_as_a_file(monkeypatch, terminal, plain):
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", terminal)
    for name in progress.SETTINGS:
        monkeypatch.setenv(name, "")  # so that it is put back
    progress.plain_in_logs()
    assert isinstance(sys.stderr, progress.PlainLines) == plain
