"""What a table says of itself and of its columns, where the field's programs look for it."""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits, votable
from astropy.io.votable import ucd
from astropy.units import Unit

from pipeline.catalogue import columns, descriptions, writers
from pipeline.core.labels import Question, Schema
from tests.builders.galaxy_zoo_2 import GZ2

HEADER = {"ensemble": "laptop/ensembles/é", "code": "abc+", "colvers": "2", "imscale": "a long story " * 9}
SCHEMA = descriptions.described(
    columns.schema(
        GZ2, "int64", ("ra", "dec"), [pa.field("mag", pa.float32(), metadata={"unit": "mag", "ucd": "phot.mag"})]
    ),
    GZ2,
    HEADER,
)


def written(path, schema=SCHEMA):
    galaxies = pd.DataFrame({"id": [1, 2], "ra": [1.5, 2.5], "dec": 0.0, columns.KEPT + "mag": [17.5, np.nan]})
    frame = columns.table(GZ2, galaxies, np.zeros((2, 37)), np.zeros((2, 37)), ["", ""])
    writers.write(iter([columns.to_arrow(frame, schema)]), schema, path)
    return path


def test_every_column_has_a_description_and_a_ucd_of_the_standard():
    for field in SCHEMA:
        meaning = descriptions.meaning_of(field)
        assert meaning.ucd, field.name
        assert meaning.description or field.name == "mag", field.name
        ucd.parse_ucd(meaning.ucd, check_controlled_vocabulary=True)
        Unit(meaning.unit)
    told = [descriptions.meaning_of(field).description for field in SCHEMA]
    assert len(set(told)) == len(told)


def test_answers_of_classes_are_probabilities_and_no_volunteers_share():
    own = Schema("own", "class", (Question(1, "ring", "ring", ("yes", "no"), ("yes", "no"), ("a", "b"), (), "ring"),))
    made = descriptions.described(columns.schema(own, "int64", ()), own, {})
    told = {field.name: descriptions.meaning_of(field).description for field in made}
    assert told["a"].endswith(": probability")
    assert not [text for text in told.values() if "volunteers" in text or "those asked" in text]


def test_a_fits_file_tells_units_ucds_descriptions_and_what_made_it(tmp_path):
    with fits.open(written(tmp_path / "a.fits")) as hdus:
        hdus.verify("exception")
        header = hdus[1].header
        n = {name: i for i, name in enumerate(hdus[1].columns.names, 1)}
        assert [header[f"T{key}{n['ra']}"] for key in ("UNIT", "UCD")] == ["deg", "pos.eq.ra;meta.main"]
        assert [header[f"T{key}{n['mag']}"] for key in ("UNIT", "UCD")] == ["mag", "phot.mag"]
        assert header[f"TCOMM{n['Class1.1']}"] == "smooth-or-featured = smooth: share of all volunteers"
        assert header["ENSEMBLE"] == "laptop/ensembles/\\xe9"
        assert (header["CODE"], header["COLVERS"], header["IMSCALE"]) == ("abc+", "2", HEADER["imscale"].strip())
        assert all(f"TCOMM{i}" in header for name, i in n.items() if name != "mag")


@pytest.mark.parametrize("text", ["none known", "7 letters" * 4, "it's " * 3, "it's " * 30])
def test_no_card_of_a_fits_header_is_cut_off(tmp_path, text):
    told = dict.fromkeys(descriptions.HEADER, text.strip())
    schema = descriptions.described(columns.schema(GZ2, "int64", ("ra", "dec"), [SCHEMA.field("mag")]), GZ2, told)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = written(tmp_path / "a.fits", schema)
    header = fits.getheader(path, 1)
    assert {key: header[key.upper()] for key in told} == told
    cards = [header.comments[key.upper()] for key in told]
    assert all(comment in ("", whole) for comment, whole in zip(cards, descriptions.HEADER.values(), strict=True))


def test_a_votable_tells_the_same(tmp_path):
    table = votable.parse(written(tmp_path / "a.vot"), verify="exception").get_first_table()
    fields = {field.name: field for field in table.fields}
    assert (str(fields["dec"].unit), fields["dec"].ucd) == ("deg", "pos.eq.dec;meta.main")
    assert (str(fields["mag"].unit), fields["mag"].ucd) == ("mag", "phot.mag")
    told = [descriptions.meaning_of(field).description for field in SCHEMA]
    assert [" ".join((field.description or "").split()) for field in table.fields] == told
    assert {info.name: info.value for info in table.infos} == HEADER


def test_parquet_tells_the_same(tmp_path):
    schema = pq.read_schema(written(tmp_path / "a.parquet"))
    assert descriptions.meaning_of(schema.field("ra")).unit == "deg"
    assert descriptions.header_of(schema) == HEADER


@pytest.mark.parametrize("suffix", [".fits", ".vot", ".parquet", ".csv"])
def test_kept_columns_come_back(tmp_path, suffix):
    rows = next(writers.read(written(tmp_path / f"a{suffix}"), SCHEMA, [2]))
    assert rows.column("mag").to_pandas().tolist()[:1] == [17.5]
    assert np.isnan(rows.column("mag").to_pandas().tolist()[1])
