"""The competition's tables: read from where they lie, mended by name, judged by the caller."""

import numpy as np
import pytest

from pipeline.competition import checks, tables
from pipeline.errors import UserError
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2


@pytest.mark.parametrize("place", ["t.csv", "t.zip", "t"])
def test_labels_are_read_from_csv_zip_and_folder(tmp_path, place):
    text = tiny.labels().to_csv().replace("GalaxyID", "galaxyId").encode()
    if place == "t.csv":
        (tmp_path / place).write_bytes(b"\xef\xbb\xbf" + text)  # as spreadsheets save it
    elif place == "t.zip":
        tiny.zip_of(tmp_path / place, {"x/t.csv": text, "__MACOSX/._t.csv": b"x"})
    else:
        tiny.folder_of(tmp_path / place, {"t.csv": text})
    frame = tables.read_labels(tmp_path / place, GZ2)
    assert frame.index.name == "GalaxyID"
    assert frame.index.tolist() == list(tiny.TRAIN)
    np.testing.assert_allclose(frame, tiny.labels())


def test_a_reordered_header_is_mended_by_name(tmp_path, caplog):
    caplog.set_level("INFO")
    tiny.labels()[list(GZ2.columns[::-1])].to_csv(tmp_path / "t.csv")
    frame = tables.read_labels(tmp_path / "t.csv", GZ2)
    assert tuple(frame.columns) == GZ2.columns
    np.testing.assert_allclose(frame, tiny.labels())
    assert "another order" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a table"),
        ("id,Class1.1\n1,0.5\n", "expected GalaxyID as the first column, received 'id'"),
        ("GalaxyID,Class1.1\n1,0.5,3\n2,0.5,3\n", "more fields"),
        ("GalaxyID,Class1.1\n1,0.5\n2,0.5,3\n", "not a table"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        tables.read_labels(tmp_path / "t.csv", GZ2)


def test_two_tables_in_one_zip_are_refused(tmp_path):
    with pytest.raises(UserError, match="one csv file in it, found 2"):
        tables.read_labels(tiny.zip_of(tmp_path / "t.zip", {"a.csv": b"", "b.csv": b""}), GZ2)


def test_sample_keeps_its_header_and_order(tmp_path):
    (tmp_path / "s.csv").write_text("GalaxyId,Class1.2,Class1.1\n9,0,0\n 4 ,0,0\n7,0,0\n")
    header, ids = tables.read_sample(tmp_path / "s.csv")
    assert header == ["GalaxyId", "Class1.2", "Class1.1"]
    assert ids.tolist() == [9, 4, 7]
    assert ids.dtype == np.int64


def test_ids_that_are_no_integers_stay_text(tmp_path):
    (tmp_path / "s.csv").write_text("GalaxyID,Class1.1\n9,0\n4.0,0\n")
    assert tables.read_sample(tmp_path / "s.csv")[1].tolist() == ["9", "4.0"]
    assert tables.read_labels(tmp_path / "s.csv", GZ2).index.tolist() == ["9", "4.0"]


TROUBLES = {
    "the empty rows of a spreadsheet": lambda text: text + "," * 37 + "\n" + "," * 37 + "\n",
    "empty lines": lambda text: text.replace("\n", "\n\n"),
    "empty columns": lambda text: text.replace("\n", ",,\n"),
    "semicolons": lambda text: text.replace(",", ";"),
    "tabs": lambda text: text.replace(",", "\t"),
    "blanks in the header": lambda text: text.replace(",Class", " , Class"),
    "a comment": lambda text: f"# from the archive\n{text}",
    "what Excel separates by": lambda text: f"sep=,\n{text}",
    "carriage returns": lambda text: text.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("spoil", TROUBLES.values(), ids=TROUBLES)
def test_tables_as_spreadsheets_save_them(tmp_path, spoil, encoding):
    (tmp_path / "t.csv").write_bytes(spoil(tiny.labels().to_csv(lineterminator="\n")).encode(encoding))
    labels = tables.read_labels(tmp_path / "t.csv", GZ2)
    np.testing.assert_allclose(labels, tiny.labels())
    assert labels.index.tolist() == list(tiny.TRAIN)
    header, ids = tables.read_sample(tmp_path / "t.csv")
    assert header == ["GalaxyID", *GZ2.columns]
    assert ids.tolist() == list(tiny.TRAIN)


def test_decimal_commas_between_semicolons(tmp_path):
    header, *rows = tiny.labels().to_csv(lineterminator="\n").splitlines()
    text = "\n".join([header.replace(",", ";"), *(row.replace(",", ";").replace(".", ",") for row in rows)])
    (tmp_path / "t.csv").write_text(text)
    np.testing.assert_allclose(tables.read_labels(tmp_path / "t.csv", GZ2), tiny.labels())


@pytest.mark.parametrize("name", ["0104", "", "NA", "104.0", "1.04E+02", "5877229817420840971", "+104", "١٠٤"])
def test_no_id_is_rewritten(tmp_path, name):
    (tmp_path / "s.csv").write_text(f"GalaxyID,Class1.1\n9,0\n{name},0\n")
    assert tables.read_sample(tmp_path / "s.csv")[1].tolist() == ["9", name]
    assert tables.read_labels(tmp_path / "s.csv", GZ2).index.tolist() == ["9", name]
    assert len(checks.id_problems("sample", tables.read_sample(tmp_path / "s.csv")[1])) == 1
