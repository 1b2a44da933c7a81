"""Columns of a catalogue that are carried through, from every format to every format."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from pipeline.catalogue import columns, descriptions, writers
from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.readers import described
from pipeline.errors import UserError
from tests.builders.galaxy_zoo_2 import GZ2

LONG = 587722981742084097  # more than float64 holds


def kept(path: Path, *names: str, kind: str = "parquet") -> pa.Table:
    """What of these columns goes into the answers, in the types of their schema."""
    galaxies = Galaxies(path, "http://nowhere", {}, keep=names)
    _, n, schema = galaxies.survey(GZ2, kind)
    frames = [columns.table(GZ2, batch, np.zeros((len(batch), 37)), np.zeros((len(batch), 37)), [""] * len(batch))
              for batch in galaxies.batches()]  # fmt: skip
    rows = columns.to_arrow(pd.concat(frames, ignore_index=True), schema)
    assert len(rows) == n
    return rows.select(list(names))


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


CELLS = {  # cells of a text file -> type and values
    "integers": (["1", "-2", "0"], pa.int64(), [1, -2, 0]),
    "long integers": ([str(LONG), "2", "3"], pa.int64(), [LONG, 2, 3]),
    "integers, one missing": (["1", "", "3"], pa.float64(), [1, np.nan, 3]),
    "long integers, one missing": ([str(LONG), "", "3"], pa.string(), [str(LONG), None, "3"]),
    "more than 64 bits": (["99999999999999999999", "1", "2"], pa.string(), ["99999999999999999999", "1", "2"]),
    "numbers": (["1.5", "nan", "-3e-7"], pa.float64(), [1.5, np.nan, -3e-7]),
    "a long integer among numbers": ([str(LONG), "1.5", "2"], pa.string(), [str(LONG), "1.5", "2"]),
    "names that look like numbers": (["007", "12", "3"], pa.string(), ["007", "12", "3"]),
    "text": (["a", "", "NA"], pa.string(), ["a", None, "NA"]),
    "nothing": (["", "", ""], pa.string(), [None, None, None]),
}


@pytest.mark.parametrize(("cells", "kind", "values"), CELLS.values(), ids=CELLS)
def test_text_files_have_the_least_type_that_loses_nothing(tmp_path, cells, kind, values):
    path = csv(tmp_path / "a.csv", "id,x\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))
    column = kept(path, "x").column("x")
    assert column.type == kind
    assert [None if v is None or v != v else v for v in column.to_pylist()] == [
        None if v is None or v != v else v for v in values
    ]


TYPED = {
    "float32": (pa.array([1.1, None], pa.float32()), pa.float32(), [np.float32(1.1), None]),
    "integers": (pa.array([LONG, 2], pa.int64()), pa.int64(), [LONG, 2]),
    "small integers, one missing": (pa.array([1, None], pa.int16()), pa.float64(), [1, None]),
    "text of digits": (pa.array(["12", "13"]), pa.string(), ["12", "13"]),
    "dictionary": (pa.array(["E", "S"]).dictionary_encode(), pa.string(), ["E", "S"]),
    "true and false": (pa.array([True, False]), pa.string(), ["true", "false"]),
    "above 2^63": (pa.array([2**63 + 1, 2], pa.uint64()), pa.string(), [str(2**63 + 1), "2"]),
}


@pytest.mark.parametrize(("given", "kind", "values"), TYPED.values(), ids=TYPED)
def test_files_with_types_keep_them(tmp_path, given, kind, values):
    pq.write_table(pa.table({"id": [1, 2], "x": given}), tmp_path / "a.parquet")
    column = kept(tmp_path / "a.parquet", "x").column("x")
    assert column.type == kind
    assert [None if v is None or v != v else v for v in column.to_pylist()] == values


def test_decimal_commas(tmp_path):
    path = csv(tmp_path / "a.csv", "id;x\n1;1,5\n2;2,5\n")
    assert kept(path, "x").column("x").to_pylist() == [1.5, 2.5]


@pytest.mark.parametrize("suffix", ["fits", "vot", "ecsv", "parquet"])
def test_types_are_those_of_the_file(tmp_path, suffix):
    mag = np.array([17.5, np.nan], np.float32)
    table = Table({"id": [1, 2], "long": [LONG, 2], "digits": ["007", "12"], "mag": mag})
    path = tmp_path / f"a.{suffix}"
    table.write(path, format={"vot": "votable", "ecsv": "ascii.ecsv"}.get(suffix, suffix))
    rows = kept(path, "long", "digits", "mag")
    assert rows.schema.types == [pa.int64(), pa.string(), pa.float32()]
    assert rows.to_pylist()[0] == {"long": LONG, "digits": "007", "mag": 17.5}


@pytest.mark.parametrize("suffix", ["fits", "vot", "ecsv", "parquet"])
def test_units_ucds_and_descriptions_go_along(tmp_path, suffix):
    table = Table({"id": [1], "R90": [6.0], "Mag": MaskedColumn([17.5], mask=[True])})
    table["R90"].unit, table["R90"].description, table["R90"].meta["ucd"] = "arcmin", "a radius", "phys.angSize"
    path = tmp_path / f"a.{suffix}"
    table.write(path, format={"vot": "votable", "ecsv": "ascii.ecsv"}.get(suffix, suffix))
    rows = kept(path, "R90", "Mag")
    assert descriptions.meaning_of(rows.schema.field("R90")) == ("arcmin", "phys.angSize", "a radius")
    assert rows.column("R90").to_pylist() == [6.0]  # as it is, whatever it is taken for


def test_a_fits_header_is_read_as_the_fields_programs_write_it_before_what_astropy_keeps_in_comments(tmp_path):
    table, path = Table({"id": [1], "R90": [6.0]}), tmp_path / "a.fits"
    table["R90"].description = "of astropy " + 20 * "and longer than a card "
    table.write(path)
    assert (
        descriptions.meaning_of(kept(path, "R90").schema.field("R90")).description == table["R90"].description.strip()
    )
    with fits.open(path, mode="update") as hdus:
        hdus[1].header["TUCD2"], hdus[1].header["TCOMM2"] = "phys.angSize", "a radius"
    assert descriptions.meaning_of(kept(path, "R90").schema.field("R90")) == ("", "phys.angSize", "a radius")


@pytest.mark.parametrize("spoilt", ["{", "datatype: 3", "- a", "datatype: [{unit: !!python/object/apply:os.abort []}]"])
def test_comments_of_another_hand_in_a_fits_header_are_passed_over(tmp_path, spoilt):
    path = tmp_path / "a.fits"
    Table({"id": [1], "R90": [6.0]}).write(path)
    with fits.open(path, mode="update") as hdus:
        for line in (described.SERIALIZED[0], spoilt, described.SERIALIZED[1]):
            hdus[1].header["COMMENT"] = line
    assert descriptions.meaning_of(kept(path, "R90").schema.field("R90")) == ("", "", "")


def test_a_column_that_is_also_used_is_kept_as_it_is(tmp_path):
    path = csv(tmp_path / "a.csv", "id,radius_arcmin,pixscale\n1,6,0.4\n")
    galaxies = Galaxies(path, "http://nowhere", {"radius": "radius_arcmin"}, keep=["radius_arcmin", "pixscale"])
    frame = next(galaxies.batches())
    assert frame.loc[0, ["radius", "pixel_scale"]].tolist() == [360, 0.4]
    assert frame.loc[0, [columns.KEPT + "radius_arcmin", columns.KEPT + "pixscale"]].tolist() == [6, 0.4]


REFUSED = {
    "no such column": ("mug", r"--keep mug: .* has no column of that name, only id, RA, mag"),
    "one that the answers have": ("RA", "--keep RA: the answers have a column of that name themselves"),
}


@pytest.mark.parametrize(("name", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_kept_is_told(tmp_path, name, said):
    with pytest.raises(UserError, match=said):
        kept(csv(tmp_path / "a.csv", "id,RA,mag\n1,2,3\n"), name)


def test_lists_and_texts_that_a_format_cannot_hold_are_told(tmp_path):
    pq.write_table(pa.table({"id": [1, 2], "x": [[1], [2]], "y": ["a", "é"], "é": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"--keep x: .* holds list"):
        kept(tmp_path / "a.parquet", "x")
    with pytest.raises(UserError, match=r"the y of galaxy 2, .*\.parquet"):
        kept(tmp_path / "a.parquet", "y", kind="fits")
    with pytest.raises(UserError, match="FITS has no columns of such a name"):
        kept(tmp_path / "a.parquet", "é", kind="fits")


@pytest.mark.parametrize("suffix", [".fits", ".vot", ".parquet", ".csv"])
def test_every_type_comes_back_from_every_format(tmp_path, suffix):
    data = {"i": [LONG, 2], "f": pa.array([1.1, None], pa.float32()), "d": [0.1, None], "t": ["a", None]}
    pq.write_table(pa.table({"id": [1, 2]} | data), tmp_path / "in.parquet")
    galaxies = Galaxies(tmp_path / "in.parquet", "http://nowhere", {}, keep=list(data))
    schema = galaxies.survey(GZ2)[2]
    batch = next(galaxies.batches())
    rows = columns.to_arrow(columns.table(GZ2, batch, np.zeros((2, 37)), np.zeros((2, 37)), ["", ""]), schema)
    writers.write(iter([rows]), schema, tmp_path / f"out{suffix}")
    back = next(writers.read(tmp_path / f"out{suffix}", schema, [2])).select(list(data))
    assert back.to_pandas().equals(rows.select(list(data)).to_pandas())
