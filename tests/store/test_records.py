"""Artifacts are whole or absent, and a record vouches for their files."""

import os

import pytest

from pipeline.errors import UserError
from pipeline.store import records
from pipeline.store.records import Artifact, atomic


def artifact(folder, **contents: str) -> Artifact:
    """An artifact of these files, with its record."""
    made = Artifact(folder / "it.json", tuple(folder / name for name in contents))
    made.begin()
    for path, text in zip(made.files, contents.values(), strict=True):
        path.write_text(text)
    made.finish({"epochs": 3}, {"crops": "abc"}, score=0.1)
    return made


def test_an_atomic_write_appears_whole_under_its_name(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic(path) as temporary:
        assert temporary.suffix == ".txt"
        temporary.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x"
    assert list(path.parent.iterdir()) == [path]


def test_what_another_process_has_made_since_it_was_looked_at_is_not_made_again(tmp_path):
    mine = artifact(tmp_path, **{"a.txt": "x"}).looked_at()
    other = Artifact(mine.record_path, mine.files)
    other.finish({}, {})
    with pytest.raises(UserError, match="was made by another process meanwhile: the same command goes on"):
        mine.begin()
    assert other.record() is not None
    assert not other.lock.exists()
    other.looked_at().begin()
    assert other.record() is None


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # a device such as /dev/null is no other case, but for that it takes root to make
    with pytest.raises(UserError, match="pipe is there and is no file"), atomic(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo()


def write_half(path, error: type[BaseException]) -> None:
    with atomic(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_first_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "a.txt", RuntimeError)
    assert list(tmp_path.iterdir()) == []


def test_begin_withdraws_the_record_before_a_file_is_touched(tmp_path):
    made = artifact(tmp_path, a="1")
    made.begin()
    assert made.record() is None
    assert made.digest() is None
    assert made.files[0].read_text() == "1"


def test_the_record_is_written_last_and_says_everything(tmp_path):
    made = artifact(tmp_path, a="1", b="22")
    record = made.record()
    assert record["spec"] == {"epochs": 3}
    assert record["made_from"] == {"crops": "abc"}
    assert record["score"] == 0.1
    assert record["files"]["b"]["bytes"] == 2
    assert record["files"]["a"]["sha256"].startswith("6b86b273ff34fce1")
    assert {"at", "code", "python", "libraries", "machine", "command"} <= set(record["made"])


def test_no_record_is_written_where_a_file_is_missing(tmp_path):
    made = Artifact(tmp_path / "it.json", (tmp_path / "a", tmp_path / "b"))
    made.begin()
    (tmp_path / "a").write_text("1")
    with pytest.raises(FileNotFoundError):
        made.finish({}, {})
    assert made.record() is None


def test_the_digest_is_that_of_the_contents_and_of_nothing_else(tmp_path):
    first = artifact(tmp_path / "1", a="1", b="2").digest()
    assert artifact(tmp_path / "2", a="1", b="2").digest() == first
    assert artifact(tmp_path / "3", a="1", b="3").digest() != first
    assert artifact(tmp_path / "4", a="2", b="1").digest() != first


def test_damage_names_what_is_missing_or_of_another_size(tmp_path):
    made = artifact(tmp_path, a="1", b="22")
    assert made.missing_or_resized() == []
    made.files[0].unlink()
    made.files[1].write_text("2")
    assert made.missing_or_resized() == ["a is missing", "b has 1 bytes, not 2"]


def test_a_record_that_is_cut_short_is_the_users_to_delete(tmp_path):
    made = artifact(tmp_path, a="1")
    made.record_path.write_text('{"spec": {')
    with pytest.raises(UserError, match=r"it\.json is damaged .*; delete it and run again"):
        made.record()


def test_json_with_nan_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.save_json(tmp_path / "a.json", {"score": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_bit_is_found_and_named(tmp_path):
    made = artifact(tmp_path, a="12", b="2")
    assert made.checksum_mismatches() == []
    made.files[0].write_text("13")  # of the same size: `damage` is blind to it
    assert made.missing_or_resized() == []
    (told,) = made.checksum_mismatches()
    assert told.startswith(f"{made.files[0]} is not what was written: its sha256 is 3fdba35f04dc…")


def test_leftovers_of_killed_processes_go_when_the_artifact_is_made_anew(tmp_path):
    made = artifact(tmp_path, a="1")
    for name in (".123.a", ".77.it.json", ".a.partial", ".123.b"):
        (tmp_path / name).touch()
    made.begin()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".123.b", ".a.partial", ".it.json.lock", "a"]
    made.finish({}, {})
    assert not made.lock.exists()
