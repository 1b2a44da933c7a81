"""Whom people may be asked about."""

import pytest

from pipeline.errors import UserError
from pipeline.labelled import unlabelled
from tests.builders import unlabelled as builder


def found(tmp_path, table: str | None = None, n: int = 4) -> unlabelled.Unlabelled:
    place = builder.folder(tmp_path, n)
    builder.plan(tmp_path)
    if table is not None:
        (place / "labels.csv").write_text(table)
    return unlabelled.find(place, str(tmp_path / "asked.toml"))


def test_without_a_table_every_image_is_one(tmp_path):
    made = found(tmp_path)
    assert made.images.names == {f"g{i:02d}": f"g{i:02d}.png" for i in range(4)}
    assert (made.labelled, made.schema.name) == (0, "asked")


def test_labelled_ones_are_not_and_empty_rows_are(tmp_path):
    made = found(tmp_path, "id,shape,arms\ng00,smooth,\ng01,,\ngone,,\n")
    assert made.images.names == {"g01": "g01.png", "g02": "g02.png", "g03": "g03.png"}
    assert made.labelled == 1


def test_a_table_that_names_images_gives_its_own_ids(tmp_path):
    made = found(tmp_path, "id,image,shape,arms\nA,g00.png,smooth,\nB,g01.png,,\ng02,g03.png,,\n")
    assert made.images.names == {"B": "g01.png", "g02": "g03.png"}  # g02.png would be a second galaxy of that id


def test_images_to_predict_are_not_asked_about(tmp_path):
    place = builder.folder(tmp_path, 4)
    (place / "test").mkdir()
    for name in ("g02.png", "g03.png"):
        (place / "images" / name).rename(place / "test" / name)
    for path in list((place / "images").iterdir()):
        path.rename(place / path.name)
    (place / "images").rmdir()
    builder.plan(tmp_path)
    assert sorted(unlabelled.find(place, str(tmp_path / "asked.toml")).images.names) == ["g00", "g01"]


def test_where_nothing_is_left_it_is_said(tmp_path):
    with pytest.raises(UserError, match=r"every image that is there has a label in labels\.csv"):
        found(tmp_path, "id,shape,arms\ng00,smooth,\n", n=1)


def test_without_images(tmp_path):
    with pytest.raises(UserError, match="expected images to be labelled"):
        found(tmp_path, n=0)


def test_without_table_and_schema(tmp_path):
    with pytest.raises(UserError, match="without a table of labels the plan says what is asked"):
        unlabelled.find(builder.folder(tmp_path, 1), None)
