"""history.csv: one row an epoch, read back as it was written."""

import pytest

from pipeline.nn.history import FIELDS, History

ROW = {"loss": 0.1, "rmse": 0.3, "val_rmse": 0.25, "learning_rate": 1e-3, "seconds": 2.0}


def filled(path) -> History:
    history = History(path, resume=False)
    history.append(phase="head", epoch=1.0, **ROW)
    for epoch in (1.0, 2.0, 3.0):
        history.append(phase="fine-tune", epoch=epoch, **ROW)
    return history


def test_every_row_is_on_disk_when_it_is_finished(tmp_path):
    filled(tmp_path / "history.csv")
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == ",".join(FIELDS)
    assert lines[1] == "head,1.0,0.1,0.3,0.25,0.001,2.0"
    assert len(lines) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_resumed_history_has_the_same_rows(tmp_path):
    rows = filled(tmp_path / "history.csv").rows
    assert History(tmp_path / "history.csv", resume=True).rows == rows


def test_another_history_begins_anew(tmp_path):
    filled(tmp_path / "history.csv")
    assert History(tmp_path / "history.csv", resume=False).rows == []
    assert (tmp_path / "history.csv").read_text().splitlines() == [",".join(FIELDS)]


@pytest.mark.parametrize(("epochs", "left"), [(0, 1), (2, 3), (3, 4), (9, 4)])
def test_rows_that_no_checkpoint_followed_are_dropped(tmp_path, epochs, left):
    history = filled(tmp_path / "history.csv")
    history.truncate("fine-tune", epochs)
    assert len(history.rows) == left
    assert len(history.of_phase("head")) == 1
    assert History(tmp_path / "history.csv", resume=True).rows == history.rows


def test_a_score_that_was_not_taken_stays_not_a_number(tmp_path):
    History(tmp_path / "h.csv", resume=False).append(phase="head", epoch=1, **ROW | {"val_rmse": float("nan")})
    (row,) = History(tmp_path / "h.csv", resume=True).rows
    assert row["val_rmse"] != row["val_rmse"]
