"""A journal whose last write was lost goes on from its last whole line; one that is broken before that is told."""

import threading

import pytest

pytest.importorskip("optuna", reason="Optuna is an extra")

import optuna
from optuna.storages.journal import JournalFileSymlinkLock

from pipeline.errors import Damaged
from pipeline.tuning import journal


def study(path):
    return optuna.create_study(storage=journal.opened(path), study_name="s", load_if_exists=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The journal of two trials; the last line has a letter of two bytes, as other writers may leave it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = tmp_path_factory.mktemp("whole") / "journal.log"
    made = study(path)
    for value in (0.5, 0.25):
        trial = made.ask()
        trial.suggest_float("x", 0, 1)
        made.tell(trial, value)
    last = made.ask()
    last.set_user_attr("word", "e")
    return path.read_bytes().replace(b'"word":"e"', '"word":"é"'.encode())


def opened(folder, content: bytes):
    """(the study in a journal of this content, what its mending left)."""
    path = folder / "journal.log"
    path.write_bytes(content)
    journal.mend(path)
    left = path.read_bytes()
    return study(path), left


def test_a_sound_journal_stays_as_it_is(tmp_path, whole, caplog):
    made, left = opened(tmp_path, whole)
    assert [trial.value for trial in made.trials] == [0.5, 0.25, None]
    assert left == whole
    assert [item.name for item in tmp_path.iterdir()] == ["journal.log"]
    assert not caplog.records


def test_cut_at_any_byte_of_its_last_line_it_goes_on(tmp_path, whole, caplog):
    start = whole[:-1].rindex(b"\n") + 1
    for at in range(start + 1, len(whole)):
        caplog.clear()
        (tmp_path / "journal.log.broken").unlink(missing_ok=True)
        made, left = opened(tmp_path, whole[:at])
        assert left == whole[:start]
        assert (tmp_path / "journal.log.broken").read_bytes() == whole[start:at]
        assert len(caplog.records) == 1
        made.tell(made.ask(), 0.1)
        assert study(tmp_path / "journal.log").best_value == 0.1


ENDS = {
    "zeros": bytes(500),
    "zeros and a line's end": bytes(500) + b"\n",
    "blank lines": b"\n\n",
    "garbage": b"\xff\xfe{]\n\r\x80",
    "half a letter": '{"op_code":8,"worker_id":"é'.encode()[:-1],
    "no log": b"[1]\nnull\n{}\n",
    "nested too deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_what_a_lost_write_leaves_is_cut_off_and_kept_aside(tmp_path, whole, end, caplog):
    made, left = opened(tmp_path, whole + end)
    assert len(made.trials) == 3
    assert left == whole
    assert (tmp_path / "journal.log.broken").read_bytes() == end
    (record,) = caplog.records
    assert f"its last {len(end)} bytes are in journal.log.broken" in record.getMessage()


def test_what_was_kept_aside_before_stays(tmp_path, whole):
    opened(tmp_path, whole + b"first")
    opened(tmp_path, whole + b"second")
    assert (tmp_path / "journal.log.broken").read_bytes() == b"firstsecond"


def test_nothing_but_zeros_begins_anew(tmp_path):
    made, left = opened(tmp_path, bytes(64))
    assert made.trials == []
    assert left == b""


@pytest.mark.parametrize("wrong", [b"\n", bytes(20) + b"\n", b'{"op_code":4,"worker', b"\xff\n"])
def test_a_broken_line_before_whole_ones_is_told_and_nothing_is_cut(tmp_path, whole, wrong):
    lines = whole.splitlines(keepends=True)
    content = b"".join([*lines[:3], wrong, *lines[3:]])
    with pytest.raises(Damaged, match=r"line 4 of .*journal\.log is damaged, .* begin the search anew by --force"):
        opened(tmp_path, content)
    assert (tmp_path / "journal.log").read_bytes() == content
    assert [item.name for item in tmp_path.iterdir()] == ["journal.log"]


def test_lines_that_are_no_log_of_a_study_are_told(tmp_path, whole):
    with pytest.raises(Damaged, match=r"journal\.log is damaged \(.*--force"):
        opened(tmp_path, whole + b'{"op_code":5,"worker_id":"w"}\n')


def test_a_line_that_is_being_written_is_waited_for(tmp_path, whole):
    """Who appends holds Optuna's lock: what is there of a line is not taken for broken."""
    path = tmp_path / "journal.log"
    path.write_bytes(whole[:-5])
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    reader = threading.Thread(target=journal.mend, args=[path])
    reader.start()
    with open(path, "ab") as file:
        file.write(whole[-5:])
    lock.release()
    reader.join()
    assert path.read_bytes() == whole
