"""One maker at a time, among real processes."""

import errno
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import Elsewhere
from pipeline.execution import locks
from tests.builders.lock_holder import hold, holding


@pytest.fixture
def path(tmp_path):
    yield tmp_path / ".run.json.lock"
    locks.release(tmp_path / ".run.json.lock")


def test_the_second_is_refused_with_pid_and_command_of_the_first(path):
    with holding(path) as other:
        said = re.escape(f"is being worked on by process {other.pid} (-c {path} 60)")
        with pytest.raises(Elsewhere, match=said):
            locks.acquire(path)
        with pytest.raises(Elsewhere, match=said):
            locks.require_free(path)


def test_what_nobody_else_holds_is_free_and_stays_as_it_is(path):
    locks.require_free(path)
    assert not path.exists()
    locks.acquire(path)
    locks.require_free(path)
    assert path.exists()


@pytest.mark.parametrize("content", ["null", "[]", '{"pid": 1}', "{", "\0" * 9, "[" * 200_000])
def test_whatever_a_lock_says_the_second_is_refused(path, content):
    with holding(path):
        path.write_text(content)
        with pytest.raises(Elsewhere, match="is being worked on by another process"):
            locks.acquire(path)


def test_a_lock_of_a_process_that_was_killed_is_taken_over(path):
    other = hold(path)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert path.is_file()
    locks.acquire(path)
    locks.release(path)
    assert not path.exists()


def test_who_waits_goes_on_when_the_first_has_ended(path):
    other = hold(path, 1.0)
    began = time.monotonic()
    locks.acquire(path, wait=True)
    assert 0.3 < time.monotonic() - began < 30
    other.wait()


def test_what_is_held_may_be_taken_again_and_is_let_go_once(path):
    locks.acquire(path)
    locks.acquire(path)
    locks.release(path)
    locks.release(path)
    locks.acquire(path)


def test_a_holding_block_lets_go_also_after_an_error(path):
    def fail() -> None:
        with locks.holding(path):
            assert path.is_file()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not path.exists()


def test_many_at_once_never_hold_it_together(tmp_path):
    """Twelve processes that take turns: none sees what another has begun and not ended."""
    code = """
import sys, time
from pathlib import Path
from pipeline.execution import locks
folder = Path(sys.argv[1])
for _ in range(10):
    with locks.holding(folder / "lock", wait=True):
        (folder / "busy").touch(exist_ok=False)
        time.sleep(0.002)
        (folder / "busy").unlink()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    made = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(12)]
    assert [process.wait(timeout=120) for process in made] == [0] * 12


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(locks.json, "dump", full)
        with pytest.raises(OSError, match="No space left"):
            locks.acquire(tmp_path / ".it.lock")
    assert list(tmp_path.iterdir()) == []
    locks.acquire(tmp_path / ".it.lock")
    locks.release(tmp_path / ".it.lock")
