"""A file that grows by rows: whatever its history, it ends as np.save would have written it, and says its digest."""

import hashlib

import numpy as np
import pytest

from pipeline.stages import crops
from pipeline.store.growing_array import GrowingArray

ROWS = np.random.default_rng(0).integers(0, 256, (10, 4, 3), np.uint8)


def opened(folder, *, key="k", anew=False) -> GrowingArray:
    made = GrowingArray(folder / "a.npy", ROWS.shape, {"spec": key})
    made.open(anew=anew)
    return made


def finished(folder, made: GrowingArray) -> np.ndarray:
    digest = made.finish()
    made.forget()
    assert hashlib.sha256((folder / "a.npy").read_bytes()).hexdigest() == digest
    assert [path.name for path in folder.iterdir()] == ["a.npy"]
    return np.load(folder / "a.npy", mmap_mode="r")


def test_ends_as_an_array_on_disk(tmp_path):
    made = opened(tmp_path)
    made.append(ROWS[:4], {})
    made.append(ROWS[4:], {})
    np.testing.assert_array_equal(finished(tmp_path, made), ROWS)
    np.save(tmp_path / "b.npy", ROWS)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_goes_on_after_what_was_said_to_be_done(tmp_path):
    made = opened(tmp_path)
    made.append(ROWS[:4], {2: "broken"})
    made._file.write(b"rows that were on their way when the process was killed")
    made._file.close()
    again = opened(tmp_path)
    assert (again.done, again.notes) == (4, {2: "broken"})
    again.replace({2: ROWS[7]}, {})
    again.append(ROWS[4:], {})
    assert again.notes == {}
    np.testing.assert_array_equal(finished(tmp_path, again), [*ROWS[:2], ROWS[7], *ROWS[3:]])


NO_PROGRESS = {"no json": "{", "null": "null", "no rows": '{"key": {}, "done": null, "notes": {}}', "none": None}


@pytest.mark.parametrize("what", ["another key", "anew", "cut short", "another header", "another row", *NO_PROGRESS])
def test_what_does_not_fit_is_thrown_away(tmp_path, what):
    made = opened(tmp_path)
    made.append(ROWS[:4], {})
    made._file.close()
    if what == "cut short":
        made.path.write_bytes(made.path.read_bytes()[:-1])
    if what == "another header":
        made.path.write_bytes(b"x" * 1000)
    if what == "another row":
        made.path.write_bytes(made.path.read_bytes()[:-1] + b"x")
    if what in NO_PROGRESS:
        made.progress_path.unlink() if NO_PROGRESS[what] is None else made.progress_path.write_text(NO_PROGRESS[what])
    again = opened(tmp_path, key="other" if what == "another key" else "k", anew=what == "anew")
    again._file.close()
    assert again.done == 0


def test_says_what_it_still_needs(tmp_path):
    made = opened(tmp_path)
    assert 0 <= made.missing_bytes() <= ROWS.nbytes
    made.append(ROWS, {})
    made._file.close()
    assert made.missing_bytes() == 0


def test_chunks_end_where_another_array_joins_in(monkeypatch):
    monkeypatch.setattr(crops, "CHUNK", 4)
    assert list(crops.chunks(1, 10, {1, 6, 10})) == [(1, 5), (5, 6), (6, 9), (9, 10)]
    assert list(crops.chunks(10, 10, {10})) == []
