"""What lies in a user's folder, and what is the competition's."""

import pytest

from pipeline.errors import UserError
from pipeline.labelled import folder
from tests.builders import competition_files as tiny


def made(place, *names: str):
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return place


def test_files_are_found_by_their_names(tmp_path):
    found = folder.find(made(tmp_path, "Labels.parquet", "images.tar", "test/1.png", "sample.csv", "notes.md"))
    assert [path and path.name for path in found[1:]] == ["Labels.parquet", "images.tar", "test", "sample.csv"]


def test_the_only_table_is_that_of_the_labels(tmp_path):
    found = folder.find(made(tmp_path, "rings.csv", "images/1.png"))
    assert found.labels.name == "rings.csv"
    assert found.test is None
    assert found.sample is None


def test_several_tables_are_told(tmp_path):
    with pytest.raises(UserError, match=r"expected a table of labels.*the tables there: a.csv, b.fits"):
        folder.find(made(tmp_path, "a.csv", "b.fits"))


def test_a_competition_that_lacks_a_file_is_not_taken_for_labels_of_ones_own(tmp_path):
    tiny.write(tmp_path, zipped=False)
    assert not folder.has_labels(tmp_path)
    assert folder.has_labels(made(tmp_path / "mine", "labels.csv"))


@pytest.mark.parametrize("name", ["labels.xlsx", "Rings.ODS"])
def test_a_spreadsheet_is_to_be_saved_as_csv(tmp_path, name):
    here = made(tmp_path, name, "images/1.png")
    assert folder.has_labels(here), "its labels are looked for, not the competition's files"
    csv = name.partition(".")[0] + ".csv"
    with pytest.raises(UserError, match=rf"{name} is a spreadsheet: save it as CSV, {csv}, beside it"):
        folder.find(here)
    assert folder.find(made(tmp_path, "labels.csv")).labels.name == "labels.csv"


def test_a_spreadsheet_beside_some_of_the_competitions_files_is_none_of_their_business(tmp_path):
    tiny.write(tmp_path, zipped=False)
    assert not folder.has_labels(made(tmp_path, "notes.xlsx"))
