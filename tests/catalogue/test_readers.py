"""Tables as people have them: every format x what ids go through, by content whatever the suffix."""

import bz2
import gzip
import io
import lzma
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.io.votable.tree import VOTableFile
from astropy.table import MaskedColumn, Table
from astropy.units import Unit
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalogue import galaxies, numbers
from pipeline.catalogue.galaxies import Galaxies
from pipeline.errors import UserError
from tests.builders.galaxy_zoo_2 import GZ2

LONG = 587722981742084097  # more than float64 holds
HUGE = 2**63 + 9


def read(path: Path, *, size: int = 3, **chosen: str) -> pd.DataFrame:
    """The whole catalogue, in small batches."""
    galaxies.ROWS, before = size, galaxies.ROWS
    try:
        made = Galaxies(path, "http://nowhere", chosen)
        frames = list(made.batches())
        made.survey(GZ2)
    finally:
        galaxies.ROWS = before
    return pd.concat(frames, ignore_index=True)


def ids(path: Path, **chosen: str) -> list:
    return read(path, **chosen)["id"].tolist()


# Formats: how a column of text or of integers (None: missing) is written.


def csv(path: Path, values: list, **more) -> Path:
    pd.DataFrame({"objid": pd.Series(values, dtype=object)} | more).to_csv(path, index=False)
    return path


def tsv(path: Path, values: list) -> Path:
    pd.DataFrame({"ra": 1.0, "objid": pd.Series(values, dtype=object)}).to_csv(path, index=False, sep="\t")
    return path


def semicolons(path: Path, values: list) -> Path:
    frame = pd.DataFrame({"objid": pd.Series(values, dtype=object), "ra": 1.5})
    frame.to_csv(path, index=False, sep=";", decimal=",")
    return path


def gzipped(path: Path, values: list) -> Path:
    path.write_bytes(gzip.compress(csv(path, values).read_bytes()))
    return path


def parquet(path: Path, values: list) -> Path:
    pq.write_table(pa.table({"objid": pa.array(values), "ra": [1.0] * len(values)}), path)
    return path


def dictionary(path: Path, values: list) -> Path:
    pq.write_table(pa.table({"objid": pa.array(values).dictionary_encode()}), path)
    return path


def indexed(path: Path, values: list) -> Path:
    """As pandas writes its index."""
    frame = pd.DataFrame({"ra": 1.0}, index=pd.Index(values, name="objid"))
    frame.to_parquet(path)
    return path


def feather(path: Path, values: list) -> Path:
    pa.feather.write_feather(pa.table({"objid": pa.array(values)}), path)
    return path


def column(values: list) -> MaskedColumn:
    missing = [value is None for value in values]
    fill = "" if any(isinstance(value, str) for value in values) else 0
    made = MaskedColumn([fill if value is None else value for value in values], name="objid")
    made.mask = missing
    return made


def binary(path: Path, values: list) -> Path:
    Table([column(values)]).write(path, format="fits", overwrite=True)
    return path


def votable(path: Path, values: list) -> Path:
    Table([column(values)]).write(path, format="votable", overwrite=True)
    return path


def votable_binary(path: Path, values: list) -> Path:
    Table([column(values)]).write(path, format="votable", tabledata_format="binary2", overwrite=True)
    return path


def ecsv(path: Path, values: list) -> Path:
    Table([column(values)]).write(path, format="ascii.ecsv", overwrite=True)
    return path


TYPED = [parquet, dictionary, indexed, feather, binary, votable, votable_binary, ecsv]  # which know integers from text
UNTYPED = [csv, tsv, semicolons, gzipped]
NAMES = [  # legitimate, and each spoilt by a reader that guesses
    *("000104", "104", "12e5", "1e3", "0x1F", "1_000", "+5", "-0", "1237.1", "1237.10", "NA", "null", "None", "nan"),
    *("True", "inf", "12345678901234567890123", "J112953.88+000427.4", "NGC 1068", "2021-01-01", "5d", "#1", "é", "星"),
]


@pytest.mark.parametrize("write", TYPED + UNTYPED)
def test_names_stay_as_they_are_written(tmp_path, write):
    values = [name for name in NAMES if name.isascii()] if write in (binary, votable_binary, votable) else NAMES
    assert ids(write(tmp_path / "catalogue", values)) == values


@pytest.mark.parametrize("write", TYPED)
def test_integers_of_a_file_with_types_stay_integers(tmp_path, write):
    made = ids(write(tmp_path / "catalogue", [LONG, LONG + 1, 7, 0]))
    assert made == [LONG, LONG + 1, 7, 0]
    assert all(isinstance(name, np.integer) for name in made)


@pytest.mark.parametrize("write", UNTYPED)
def test_integers_of_text_are_text(tmp_path, write):
    values = [LONG, LONG + 1, 7]
    assert ids(write(tmp_path / "catalogue", values)) == [str(value) for value in values]


@pytest.mark.parametrize("write", [parquet, dictionary, feather, binary])
def test_unsigned_integers(tmp_path, write):
    values = np.array([HUGE, 7, 2**64 - 1], np.uint64)
    assert ids(write(tmp_path / "catalogue", values)) == values.tolist()


@pytest.mark.parametrize("write", TYPED + UNTYPED)
@pytest.mark.parametrize("values", [[LONG, LONG + 1, None, 7], ["a", "", "b"]], ids=["integer", "text"])
def test_a_missing_id_is_told_by_its_row(tmp_path, write, values):
    if write is indexed:
        pytest.skip("an index of pandas with a missing integer is one of floats")
    row = 3 if None in values else 2
    path = write(tmp_path / "catalogue", values)
    with pytest.raises(UserError, match=f"no id in column 'objid' for galaxy {row}: .*--id-column"):
        read(path)


def test_a_quoted_id_may_hold_anything(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'objid,ra\r\n"a,b",1\r\n"c""d",2\r\n"e\nf",3\r\n" 7 ",4\r\n')
    assert ids(tmp_path / "a.csv") == ["a,b", 'c"d', "e\nf", "7"]


@pytest.mark.parametrize(
    "text", ["5.87723E+17", "5.877229817420841e+17", "5,87723E+17", "6E+17", "587722981742084096.0"]
)
@pytest.mark.parametrize("write", [csv, semicolons, parquet, votable, ecsv, binary])
def test_what_a_spreadsheet_has_rounded_is_refused(tmp_path, write, text):
    with pytest.raises(UserError, match=r"galaxy 2: .*rounded number: a spreadsheet.*original file"):
        read(write(tmp_path / "catalogue", ["1", text, "2"]))


@pytest.mark.parametrize("write", [parquet, binary, votable])
def test_floats_are_ids_where_they_are_exact(tmp_path, write):
    assert ids(write(tmp_path / "a", [104.0, 2.0**53 - 1])) == [104, 2**53 - 1]
    for value, said in ((float(LONG), "is rounded"), (2.5, "is no integer"), (np.inf, "is rounded")):
        with pytest.raises(UserError, match=f"galaxy 2: .*floating-point number .* {said}"):
            read(write(tmp_path / "a", [1.0, value]))
    with pytest.raises(UserError, match=r"galaxy 1: .*is rounded"):
        read(write(tmp_path / "a", np.array([2.0**24], np.float32)))
    with pytest.raises(UserError, match="no id in column 'objid' for galaxy 2"):
        read(write(tmp_path / "a", np.array([1.0, np.nan])))


ARROW = {
    "large text": (pa.array(["007", "b"], pa.large_string()), ["007", "b"]),
    "view": (pa.array(["007", "b"], pa.string_view()), ["007", "b"]),
    "bytes": (pa.array([b"J0001+01", b" b\0\0"]), ["J0001+01", "b"]),
    "bytes of one length": (pa.array([b"J0001", b"b    "], pa.binary(5)), ["J0001", "b"]),
    "decimal": (pa.array([Decimal(LONG), Decimal(10**25)], pa.decimal128(38, 0)), [str(LONG), str(10**25)]),
    "small integers": (pa.array([1, 2], pa.int8()), [1, 2]),
}


@pytest.mark.parametrize(("values", "expected"), ARROW.values(), ids=ARROW)
def test_types_of_parquet(tmp_path, values, expected):
    pq.write_table(pa.table({"objid": values}), tmp_path / "a.parquet")
    assert ids(tmp_path / "a.parquet") == expected


NO_IDS = {
    "bytes of no text": (pa.array([b"a", b"\xff\xfe"]), "galaxy 2: .*not UTF-8"),
    "NUL": (pa.array(["a", "b\0c"]), "galaxy 2: .*NUL"),
    "lists": (pa.array([[1], [2]]), "cannot be used as id: holds list"),
    "times": (pa.array([1, 2], pa.timestamp("s")), "cannot be used as id: holds timestamp"),
    "true and false": (pa.array([True, False]), "cannot be used as id: holds bool"),
    "fractions": (pa.array([Decimal("1.5")], pa.decimal128(5, 2)), "galaxy 1: .*no integer"),
    "nothing": (pa.array([None, None]), "no id in column 'objid' for galaxy 1, 2"),
}


@pytest.mark.parametrize(("values", "said"), NO_IDS.values(), ids=NO_IDS)
def test_columns_that_are_no_ids(tmp_path, values, said):
    pq.write_table(pa.table({"objid": values}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=said):
        read(tmp_path / "a.parquet")


def test_an_index_of_pandas_without_name_is_the_last_resort(tmp_path):
    pd.DataFrame({"ra": [1.0, 2.0]}, index=["a", "b"]).to_parquet(tmp_path / "a.parquet")
    assert ids(tmp_path / "a.parquet") == ["a", "b"]
    pd.DataFrame({"name": ["c", "d"]}, index=["a", "b"]).to_parquet(tmp_path / "a.parquet")
    assert ids(tmp_path / "a.parquet") == ["c", "d"]


# FITS


def fits_of(path: Path, *hdus) -> Path:
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, overwrite=True)
    return path


def test_blanks_and_nulls_of_ascii_tables(tmp_path):
    columns = [
        fits.Column("name", "A8", array=["a", "NGC 1"]),
        fits.Column("objid", "I20", array=[LONG, 7]),
        fits.Column("ra", "D25.17", array=[1.25, -3e-5]),
    ]
    path = fits_of(tmp_path / "a.fits", fits.TableHDU.from_columns(columns))
    assert ids(path, id="name") == ["a", "NGC 1"]
    frame = read(path)
    assert frame["id"].tolist() == [str(LONG), "7"]
    assert frame["ra"].tolist() == [1.25, -3e-5]
    data = path.read_bytes()
    path.write_bytes(data.replace(b"%20d" % LONG, b" " * 20, 1))
    with pytest.raises(UserError, match="no id in column 'objid' for galaxy 1"):
        read(path)


def test_nulls_of_binary_tables(tmp_path):
    column_of = fits.Column("objid", "K", array=[LONG, -99, 3], null=-99)
    with pytest.raises(UserError, match="for galaxy 2"):
        read(fits_of(tmp_path / "a.fits", fits.BinTableHDU.from_columns([column_of])))
    table = Table({"objid": MaskedColumn(np.array([HUGE, 5], np.uint64), mask=[False, True])})
    table.write(tmp_path / "b.fits")
    with pytest.raises(UserError, match="for galaxy 2"):
        read(tmp_path / "b.fits")


def test_text_in_fits_has_no_trailing_blanks_and_columns_of_one_are_columns(tmp_path):
    columns = [
        fits.Column("objid", "12A", array=["a   ", "NGC 1"]),
        fits.Column("ra", "1D", array=[[1.0], [2.0]], dim="(1)"),
        fits.Column("flux", "5E", array=np.ones((2, 5))),
    ]
    frame = read(fits_of(tmp_path / "a.fits", fits.BinTableHDU.from_columns(columns)))
    assert frame["id"].tolist() == ["a", "NGC 1"]
    assert frame["ra"].tolist() == [1.0, 2.0]


def test_n_by_1_columns(tmp_path):
    table = Table({"objid": np.array([[LONG], [7]]), "ra": [[1.0], [2.0]]})
    table.write(tmp_path / "a.fits")
    table.write(tmp_path / "a.vot", format="votable")
    for name in ("a.fits", "a.vot"):
        frame = read(tmp_path / name)
        assert (frame["id"].tolist(), frame["ra"].tolist()) == ([LONG, 7], [1.0, 2.0])


def test_the_table_with_ids_is_taken(tmp_path, caplog):
    caplog.set_level("INFO")
    header = fits.BinTableHDU.from_columns([fits.Column("Field Header Card", "80A", array=["x"])], name="LDAC_IMHEAD")
    objects = fits.BinTableHDU.from_columns([fits.Column("objid", "K", array=[LONG])], name="LDAC_OBJECTS")
    path = fits_of(tmp_path / "a.fits", fits.ImageHDU(np.zeros((2, 2))), header, objects)
    assert ids(path) == [LONG]
    assert "table LDAC_OBJECTS: columns id = objid" in caplog.text


@pytest.mark.parametrize("suffix", ["fits", "vot"])
def test_of_several_tables_with_ids_the_first_is_taken_and_the_others_are_told(tmp_path, suffix, caplog):
    caplog.set_level("INFO")
    tables = [Table({"objid": [1], "ra": [2.0]}), Table({"objid": [7], "ra": [3.0], "dec": [4.0]})]
    path = tmp_path / f"a.{suffix}"
    if suffix == "fits":
        fits_of(path, *(fits.BinTableHDU(table, name=name) for table, name in zip(tables, "AB", strict=True)))
    else:
        file = from_table(tables[0])
        file.resources[0].tables.append(from_table(tables[1]).get_first_table())
        file.resources[0].tables[0].name, file.resources[0].tables[1].name = "A", "B"
        file.to_xml(str(path))
    assert ids(path) == [1]
    assert "table 1 A is taken, not table 2 B (3 columns): --table NAME takes another" in caplog.text
    for table in ("B", "b", "2"):
        assert next(Galaxies(path, "http://nowhere", {}, table=table).batches())["id"].tolist() == [7]
    with pytest.raises(UserError, match=r"--table C: .* has no such table, only table 1 A, table 2 B"):
        Galaxies(path, "http://nowhere", {}, table="C")


def test_compressed_fits(tmp_path):
    path = binary(tmp_path / "a.fits", [LONG, 7])
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert ids(tmp_path / "a.fits.gz") == [LONG, 7]


# VOTable


def test_fields_go_by_their_names(tmp_path):
    votable_file: VOTableFile = from_table(Table({"objid": [LONG, 7], "ra": [1.0, 2.0]}))
    for field, identity in zip(votable_file.get_first_table().fields, ("col1", "col2"), strict=True):
        field.ID = identity
    votable_file.to_xml(str(tmp_path / "a.xml"))
    assert 'ID="col1"' in (tmp_path / "a.xml").read_text()
    assert read(tmp_path / "a.xml")[["id", "ra"]].to_numpy().tolist() == [[LONG, 1.0], [7, 2.0]]


# Text


TEXTS = {
    "blanks after commas": "objid, ra, dec\n1, 1.5, 2\n2, 3, 4\n",
    "tabs": "objid\tra\tdec\n1\t1.5\t2\n2\t3\t4\n",
    "semicolons, decimal commas": "objid;ra;dec\n1;1,5;2\n2;3,0;4\n",
    "Excel says what it separates by": "sep=;\nobjid;ra;dec\n1;1,5;2\n2;3,0;4\n",
    "bars": "objid|ra|dec\n1|1.5|2\n2|3|4\n",
    "blanks": "objid    ra  dec\n1       1.5   2\n  2       3   4  \n",
    "SkyServer": "#Table1\nobjid,ra,dec\n1,1.5,2\n2,3,4\n",
    "comments": "# made by me\n\n# objid, ra, dec\nobjid,ra,dec\n1,1.5,2\n2,3,4\n",
    "a header that is a comment": "# objid ra dec\n1 1.5 2\n2 3 4\n",
    "empty rows of a spreadsheet": "objid,ra,dec\n1,1.5,2\n,,\n2,3,4\n,,\n , ,\n",
    "a comma at each end": "objid,ra,dec,\n1,1.5,2,\n2,3,4,\n",
    "commas at the ends of rows": "objid,ra,dec\n1,1.5,2,\n2,3,4,,\n",
    "quotes": '"objid","ra","dec"\n"1","1.5","2"\n"2","3","4"\n',
    "old Macintosh": "objid,ra,dec\r1,1.5,2\r2,3,4\r",
    "Windows": "objid,ra,dec\r\n1,1.5,2\r\n2,3,4\r\n",
    "blanks around a name": " ObjID , RA ,DEC\n1,1.5,2\n2,3,4\n",
    "an index of pandas": ",objid,ra,dec\n0,1,1.5,2\n1,2,3,4\n",
    "no end of line": "objid,ra,dec\n1,1.5,2\n2,3,4",
    "ECSV": "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: objid, datatype: int64}\n# - {name: ra, datatype: float64}\n"
    "# - {name: dec, datatype: float64}\nobjid ra dec\n1 1.5 2\n2 3 4\n",
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_text_as_people_have_it(tmp_path, text):
    (tmp_path / "a.dat").write_bytes(text.encode())
    frame = read(tmp_path / "a.dat")
    assert frame["id"].tolist() == ([1, 2] if "%ECSV" in text else ["1", "2"])
    assert frame[["ra", "dec"]].to_numpy().tolist() == [[1.5, 2], [3, 4]]


def test_a_cell_of_ecsv_that_is_not_of_the_type_that_the_header_tells_is_refused(tmp_path):
    (tmp_path / "a.ecsv").write_text(TEXTS["ECSV"].replace("2 3 4", "two 3 4"), encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.ecsv: column 'objid' is int64 by the header of the file, .*'two'"):
        read(tmp_path / "a.ecsv")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_encodings_and_compressions(tmp_path, encoding, pack):
    (tmp_path / "a.csv").write_bytes(pack("objid,ra\né1,1\n星,2\n".encode(encoding)))
    assert ids(tmp_path / "a.csv") == ["é1", "星"]


BROKEN = {
    "latin-1": (b"objid,note\n1,caf\xe9\n", "not UTF-8 text"),
    "too many cells": (b"objid,ra\n1,2\n2,3,4\n", "line 3: 3 cells, and the header has 2"),
    "too few cells": (b"objid,ra\n1,2\n2\n", "line 3: 1 cells"),
    "a quote without end": (b'objid,ra\n1,2\n"2,3\n', "unexpected end of data"),
    "nothing": (b"", "is empty"),
    "blanks": (b" \n\n", "is empty"),
    "comments alone": (b"# a\n# b\n", "no header"),
    "a header alone": (b"objid,ra\n", "holds no galaxies"),
    "no header": (b"7,1.5\n8,1.5\n", "no column of ids.*--id-column"),
    "two columns of ids": (b"ID,Id\n1,2\n", "both mean id"),
    "a web page": (b"<!DOCTYPE html>\n<html><body>404</body></html>", "no table but web page"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "no table but image"),
    "binary": (b"ab\0\0\1", "no table but binary"),
    "cut Parquet": (b"PAR1abc", "cannot be read as parquet"),
    "cut FITS": (b"SIMPLE  =                    T", "a.csv"),
    "cut VOTable": (b"<?xml version='1.0'?><VOTABLE><RESOURCE>", "a.csv"),
    "cut gzip": (gzip.compress(b"objid,ra\n" + bytes(range(48, 58)) * 999)[:60], "a.csv"),
    "an id twice": (b"objid,dr8_id\n1,5\n1,6\n", "id 1 stands there twice, in galaxies 1 and 2 .*dr8_id.*--id-column"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("data", "said"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_one_sentence(tmp_path, data, said):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(UserError, match=said):
        read(tmp_path / "a.csv")


def test_a_spreadsheet_is_told(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    with pytest.raises(UserError, match=r"is a spreadsheet: save it as CSV"):
        read(tmp_path / "a.xlsx")


# Round trips

NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and not galaxies_rounded(text)
)


def galaxies_rounded(text: str) -> bool:
    from pipeline.catalogue.ids import ROUNDED

    return bool(ROUNDED.fullmatch(text))


@pytest.mark.parametrize("write", [csv, tsv, gzipped, parquet, indexed, feather])
@settings(max_examples=60, deadline=None)
@given(values=st.lists(NAME, min_size=1, max_size=8, unique=True))
def test_any_names_come_back(tmp_path_factory, write, values):
    path = write(tmp_path_factory.mktemp("names") / "catalogue", values)
    assert ids(path) == values


@pytest.mark.parametrize("write", TYPED)
@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8, unique=True))
def test_any_integers_come_back(tmp_path_factory, write, values):
    assert ids(write(tmp_path_factory.mktemp("integers") / "catalogue", values)) == values


# Numbers and their units


def test_cells_that_are_no_numbers_are_told_and_missing(tmp_path, caplog):
    text = "objid,ra,radius,pixel_scale\n1,1,10.0 arcsec,0.4\n2,\\N,3,\n3,east,4,0.4\n"
    (tmp_path / "a.csv").write_text(text)
    frame = read(tmp_path / "a.csv", size=1)
    assert frame["radius"].isna().tolist() == [True, False, False]
    assert frame["pixel_scale"].isna().tolist() == [False, True, False]
    assert frame["ra"].isna().tolist() == [False, True, True]
    assert "column radius: 1 cells are no numbers, such as '10.0 arcsec' of galaxy 1" in caplog.text
    assert "column ra: 1 cells are no numbers, such as 'east' of galaxy 3" in caplog.text


def test_coordinates_beyond_the_sky_are_told_and_stay(tmp_path, caplog):
    (tmp_path / "a.csv").write_text("objid,ra,dec\n1,359.9,-90\n2,-170,90\n3,400,-95\n4,,-999\n")
    frame = read(tmp_path / "a.csv", size=1)
    assert frame["dec"].tolist() == [-90, 90, -95, -999]
    assert "column ra: 1 cells are beyond 360 degrees, such as 400 of galaxy 3: they stay as they are" in caplog.text
    assert "column dec: 2 cells are beyond 90 degrees, such as -95 of galaxy 3" in caplog.text


@pytest.mark.parametrize(("unit", "expected"), [("arcsec", 6.0), ("arcmin", 360.0), ("deg", 21600.0), (None, 6.0)])
@pytest.mark.parametrize("suffix", ["fits", "vot"])
def test_units_are_brought_to_arcseconds(tmp_path, unit, expected, suffix):
    table = Table({"objid": [1], "radius": [6.0], "pixel_scale": [0.4]})
    table["radius"].unit, table["pixel_scale"].unit = unit, "arcsec / pix"
    table.write(tmp_path / f"a.{suffix}", format={"fits": "fits", "vot": "votable"}[suffix])
    frame = read(tmp_path / f"a.{suffix}")
    assert frame.loc[0, ["radius", "pixel_scale"]].tolist() == pytest.approx([expected, 0.4])


def described(path: Path, unit: str | None, column: str = "radius") -> Path:
    """One galaxy of 6 `unit`s and 0.4 arcseconds a pixel, in the format of the suffix."""
    table = Table({"objid": ["1"], column: [6.0], "pixel_scale": [0.4]})
    table["pixel_scale"].unit = "arcsec / pix"
    table[column].unit = unit
    if path.name.startswith("fields"):
        fields = [pa.field(c, pa.array(table[c]).type, metadata={"unit": str(table[c].unit)}) for c in table.colnames]
        pq.write_table(pa.table([pa.array(table[c]) for c in table.colnames], schema=pa.schema(fields)), path)
    elif path.name.startswith("vo"):
        about = {c: {"unit": str(table[c].unit or ""), "ucd": "", "utype": ""} for c in table.colnames}
        table.write(path, format="parquet.votable", metadata=about)
    else:
        formats = {".ecsv": "ascii.ecsv", ".parquet": "parquet", ".fits": "fits", ".vot": "votable"}
        table.write(path, format=formats[path.suffix])
    return path


@pytest.mark.filterwarnings("ignore")  # of the library's writers
@pytest.mark.parametrize("name", ["a.ecsv", "a.parquet", "vo.parquet", "fields.parquet", "a.fits", "a.vot"])
def test_every_format_that_tells_units_is_heard(tmp_path, name):
    frame = read(described(tmp_path / name, "arcmin"))
    assert frame.loc[0, ["radius", "pixel_scale"]].tolist() == pytest.approx([360, 0.4])


@pytest.mark.parametrize("name", ["r90 [arcmin]", "r90 (arcmin)", "R90_arcmin"])
def test_a_name_that_tells_the_unit_is_heard(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"objid,{name},pixel_scale\n1,6,0.4\n")
    assert read(tmp_path / "a.csv", radius=name).loc[0, "radius"] == 360
    assert read(tmp_path / "a.csv").loc[0, "radius"] == 360  # r90 is a usual name, with its unit, too


@pytest.mark.parametrize("name", ["petroR90 (r)", "petro_rad", "r90 [of the galaxy]", "r90"])
def test_a_name_that_tells_no_unit_means_arcseconds(tmp_path, name):
    (tmp_path / "a.csv").write_text(f"objid,{name},pixel_scale\n1,6,0.4\n")
    assert read(tmp_path / "a.csv", radius=name).loc[0, "radius"] == 6


@pytest.mark.parametrize("unit", ["ARCMIN", "arcmins", "arcminutes", " arcmin "])
def test_units_are_spelt_in_many_ways(unit):
    assert numbers.factor("radius", "r", unit, Path()) == pytest.approx(60)


PLACES = {
    "degrees": ("deg", 10.5, "deg", -1.5, (10.5, -1.5)),
    "hours": ("h", 0.7, "deg", -1.5, (10.5, -1.5)),
    "radians": ("rad", np.radians(10.5), "rad", np.radians(-1.5), (10.5, -1.5)),
    "60ths": ('"h:m:s"', "00:42:00", '"d:m:s"', "-01:30:00.0", (10.5, -1.5)),
    "60ths, of degrees": ('"d:m:s"', "10:30:00", '"d:m:s"', "-00:30:00", (10.5, -0.5)),
    "60ths without a unit": (None, "00 42 00", None, "-01 30 00", (10.5, -1.5)),
    "60ths in letters": (None, "0h42m00s", None, "-1d30m00s", (10.5, -1.5)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("unit", "ra", "unit_of_dec", "dec", "expected"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("suffix", [".vot", ".ecsv"])
def test_places_come_out_in_degrees(tmp_path, suffix, unit, ra, unit_of_dec, dec, expected):
    table = Table({"objid": ["1"], "ra": [ra], "dec": [dec]})
    for name, told in (("ra", unit), ("dec", unit_of_dec)):
        table[name].unit = told and Unit(told, parse_strict="silent")
    table.write(tmp_path / f"a{suffix}", format={".vot": "votable", ".ecsv": "ascii.ecsv"}[suffix])
    assert read(tmp_path / f"a{suffix}").loc[0, ["ra", "dec"]].tolist() == pytest.approx(expected)


def test_what_is_no_angle_in_60ths_is_none():
    for text in ("12:61:00", "1:2:3:4", "12:30:75", "a:b:c", "1 2 3 4"):
        assert np.isnan(numbers.sexagesimal(text, hours=True))


def test_a_unit_that_is_no_angle_is_refused(tmp_path):
    table = Table({"objid": [1], "radius": [6.0], "pixel_scale": [0.4]})
    table["radius"].unit = "kpc"
    table.write(tmp_path / "a.fits")
    with pytest.raises(UserError, match=r"unit of the column taken as radius, 'radius', is 'kpc'.*--radius-column"):
        read(tmp_path / "a.fits")


# Which column means what


def test_coordinates_in_hours_by_name(tmp_path, caplog):
    (tmp_path / "a.csv").write_text("id,ra_hours,dec_deg\n1,2,3\n")
    assert read(tmp_path / "a.csv").iloc[0][["ra", "dec"]].tolist() == pytest.approx([30, 3])
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_coordinate_alone_is_told_where_no_column_is_left_for_the_other(tmp_path, caplog):
    (tmp_path / "a.csv").write_text("id,ra\n1,2\n")
    read(tmp_path / "a.csv")
    (alone,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert alone.endswith("'ra' is ra, and no column goes by a usual name of dec")


def test_what_is_taken_for_what_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    (tmp_path / "a.csv").write_text("DR7OBJID, RA ,petroR90_r,PIXSCALE,mag\n1,2,3,4,5\n")
    frame = read(tmp_path / "a.csv")
    assert frame.iloc[0].to_dict() == {"id": "1", "image": "1", "ra": 2, "pixel_scale": 4, "radius": 3}
    (alone,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert alone.endswith("is ra, and no column goes by a usual name of dec: --dec-column names it among mag")
    assert "columns id = DR7OBJID, ra =  RA , " in caplog.text.replace("ra = RA", "ra =  RA ")
    assert "; ignored: mag" in caplog.text


def test_any_column_is_chosen_by_a_flag(tmp_path):
    (tmp_path / "a.csv").write_text("a,b,c,d\n1,2,3,4\n")
    frame = read(tmp_path / "a.csv", id="b", image="a", radius=" C", pixel_scale="d")
    assert frame.iloc[0].to_dict() == {"id": "2", "image": "1", "radius": 3, "pixel_scale": 4}
    with pytest.raises(UserError, match=r"no column 'e' \(--ra-column\), only a, b, c, d"):
        read(tmp_path / "a.csv", id="b", ra="e")


def test_half_an_angle_is_refused_and_whole_images_do_without(tmp_path):
    (tmp_path / "a.csv").write_text("objid,radius,image\n1,3,1.jpg\n")
    with pytest.raises(UserError, match=r"'radius' only: .*--pixel-scale-column, .*--whole-images"):
        read(tmp_path / "a.csv")
    whole = Galaxies(tmp_path / "a.csv", "http://nowhere", {}, whole_images=True)
    assert list(next(whole.batches()).columns) == ["id", "image"]


def test_a_missing_image_is_empty(tmp_path):
    for path in (
        csv(tmp_path / "a.csv", ["1", "2"], image=["a.jpg", None]),
        parquet(tmp_path / "a.parquet", ["1", "2"]),
    ):
        if path.suffix == ".parquet":
            pd.DataFrame({"objid": ["1", "2"], "image": ["a.jpg", None]}).to_parquet(path)
        assert read(path)["image"].tolist() == ["a.jpg", ""]
        beside = next(Galaxies(path, None, {}).batches())
        assert beside["image"].tolist() == [str(tmp_path / "a.jpg"), ""]


def test_images_inside_a_table(tmp_path):
    def write(data: bytes | None) -> Path:
        cells = [{"bytes": data, "path": "a.jpg"}, {"bytes": data, "path": "b.jpg"}]
        pq.write_table(pa.table({"id": ["1", "2"], "image": cells}), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    assert read(write(b"x"))["image"].tolist() == ["a.jpg", "b.jpg"]  # which --images has
    beside = next(Galaxies(write(None), None, {}).batches())
    assert beside["image"].tolist() == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    with pytest.raises(UserError, match=r"column 'image' holds images, not their names: .*--images"):
        next(Galaxies(write(b"x"), None, {}).batches())


def test_rows_are_read_in_batches(tmp_path):
    frame = pd.DataFrame({"objid": np.arange(10), "ra": np.arange(10.0)})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=3)
    Table.from_pandas(frame).write(tmp_path / "a.fits")
    Table.from_pandas(frame).write(tmp_path / "a.vot", format="votable")
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, sep="\t")
    for path in tmp_path.iterdir():
        made = Galaxies(path, "http://nowhere", {})._table
        sizes = [len(batch) for batch in made.batches(4)]
        assert sum(sizes) == 10
        assert max(sizes) == 4
