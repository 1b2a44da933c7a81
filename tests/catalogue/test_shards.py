"""What vouches for a shard and for a joined table: the rows of the catalogue, the ensemble, and the images."""

import os
import shutil
import time
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from pipeline.catalogue import addresses, classify_worker, columns, galaxies, image_stamps, shards, writers
from pipeline.catalogue.classify_worker import ClassifyWorker
from pipeline.catalogue.target import Target
from pipeline.commands import classify
from pipeline.errors import UserError
from pipeline.execution import locks
from pipeline.models.classifier import Classifier
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2

COLUMNS = list(GZ2.columns)
_classifier = cache(Classifier)


@pytest.fixture(autouse=True)
def _networks_are_built_once(monkeypatch):
    monkeypatch.setattr(classify_worker, "Classifier", _classifier)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(galaxies, "ROWS", 3)


@pytest.fixture
def folder(survey, tmp_path) -> Path:
    """Seven images of the survey, of which 4 is cut short."""
    members = {f"{i}.jpg": survey.images[survey.test_ids[i]] for i in range(7)}
    return tiny.folder_of(tmp_path / "images", members | {"4.jpg": members["4.jpg"][:3000]})


@pytest.fixture
def image(survey):
    """The bytes of an image of the survey, by its number."""
    return lambda i: survey.images[survey.test_ids[i]]


@pytest.fixture
def command(survey, caplog):
    """The command, which gives the table that it has written; views 1, since every answer is a test's second."""
    caplog.set_level("INFO")

    def run(catalogue: Path, to: Path, *flags) -> pd.DataFrame:
        caplog.clear()
        classify.main([str(catalogue), "--ensemble", str(survey.ensemble), "--to", str(to), "--views", "1", *flags])
        return read(to)

    return run


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype={"id": str, "reason": object, "caveat": object})
    if path.suffix in (".fits", ".vot"):
        table = Table.read(path)
        table.convert_bytestring_to_unicode()
        return table.to_pandas().astype({"reason": object, "caveat": object})
    return pd.read_parquet(path)


@pytest.fixture
def made(monkeypatch) -> list:
    """How many galaxies each call of a worker answered for."""
    calls, answered = [], ClassifyWorker._answered
    monkeypatch.setattr(ClassifyWorker, "_answered", lambda self, g, s: calls.append(len(g)) or answered(self, g, s))
    return calls


@pytest.mark.parametrize("name", ["out", "out.parquet", "out.csv", "out.fits", "out.vot"])
def test_a_mended_and_a_replaced_image_are_classified_anew_by_the_same_command(
    command, folder, image, made, tmp_path, caplog, name
):
    to = tmp_path / name
    first = command(folder, to)
    assert made == [3, 3, 1]
    (folder / "4.jpg").write_bytes(image(4))
    (folder / "0.jpg").write_bytes(image(9))
    made.clear()
    second = command(folder, to)
    assert made == [1, 1]  # of the first two shards; the others' rows stay as they are
    assert "1 galaxy, such as 0.jpg, whose image has changed" in caplog.text
    assert "1 galaxy, such as 4.jpg, whose image could not be used" in caplog.text
    fresh = command(folder, tmp_path / f"fresh{to.suffix}")
    pd.testing.assert_frame_equal(second, fresh, atol=1e-6)
    assert not np.allclose(first.loc[0, COLUMNS].astype(float), second.loc[0, COLUMNS].astype(float), atol=1e-4)
    pd.testing.assert_frame_equal(first.drop([0, 4]), second.drop([0, 4]), check_exact=True)
    made.clear()
    command(folder, to)
    assert made == []
    assert not (tmp_path / f"{name}.parts").exists()


def test_a_zip_with_another_member_is_noticed(command, image, made, tmp_path):
    archive = tmp_path / "all.zip"
    tiny.zip_of(archive, {f"{i}.jpg": image(i) for i in range(4)})
    command(archive, tmp_path / "out.parquet")
    tiny.zip_of(archive, {f"{i}.jpg": image(9 if i == 2 else i) for i in range(4)})
    made.clear()
    second = command(archive, tmp_path / "out.parquet")
    assert made == [1]
    fresh = command(archive, tmp_path / "fresh.parquet")
    pd.testing.assert_frame_equal(second, fresh, atol=1e-6)


def test_the_same_size_and_time_do_not_hide_other_bytes(command, folder, made, tmp_path):
    path, to = folder / "1.jpg", tmp_path / "out"
    command(folder, to)
    before, data = path.stat(), bytearray(path.read_bytes())
    data[-1000] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    made.clear()
    command(folder, to)
    assert made == [1]


def test_images_that_were_copied_are_read_once_more_and_not_classified_again(
    command, folder, made, tmp_path, monkeypatch
):
    for name in ("out", "out.parquet"):
        command(folder, tmp_path / name)
    for path in folder.iterdir():
        os.utime(path, ns=(1, 1))
    made.clear()
    looked, digest = [], image_stamps.ChangeDetector._digest
    monkeypatch.setattr(
        image_stamps.ChangeDetector, "_digest", lambda self, name: looked.append(name) or digest(self, name)
    )
    for to in (tmp_path / "out", tmp_path / "out.parquet"):
        command(folder, to)
        assert len(looked) == 7
        looked.clear()
        command(folder, to)
        assert looked == ["4.jpg"]  # which could not be used
        looked.clear()
    assert made == []


def test_images_that_are_gone_keep_their_answers(command, folder, tmp_path, caplog):
    (folder / "2.jpg").unlink()
    pd.DataFrame({"id": range(7)}).to_csv(tmp_path / "galaxies.csv", index=False)
    by_table = command(tmp_path / "galaxies.csv", tmp_path / "other", "--images", str(folder))
    assert "is not among the images" in by_table.loc[2, "reason"]
    shutil.copy(folder / "1.jpg", folder / "2.jpg")
    command(tmp_path / "galaxies.csv", tmp_path / "other", "--images", str(folder))
    before = read(tmp_path / "other")
    assert before.loc[2, "reason"] == ""
    (folder / "2.jpg").unlink()
    after = command(tmp_path / "galaxies.csv", tmp_path / "other", "--images", str(folder))
    assert "1 galaxy whose image is gone keeps its answer" in caplog.text
    pd.testing.assert_frame_equal(before, after)


class Later(addresses.Addresses):
    """Addresses that fail for some names."""

    failing = ()
    asked: list = []  # noqa: RUF012

    def _fetch(self, address: str, seconds: float) -> bytes:
        Later.asked.append(address[-5:])
        if address[-5:] in self.failing:
            raise addresses.TransientError("503 Service Unavailable")
        return Path("/" + address.split("://")[1].split("/", 1)[1]).read_bytes()


def test_of_addresses_only_what_could_not_be_read_is_asked_for_again(command, folder, made, tmp_path, monkeypatch):
    from pipeline.catalogue import images

    monkeypatch.setattr(images, "open_source", lambda where: Later(where, addresses.Limits(pause=0, attempts=1)))
    pd.DataFrame({"id": range(7), "url": [f"http://x{folder}/{i}.jpg" for i in range(7)]}).to_csv(
        tmp_path / "galaxies.csv", index=False
    )
    Later.failing = ("1.jpg",)
    first = command(tmp_path / "galaxies.csv", tmp_path / "out.parquet")
    assert "at present (503" in first.loc[1, "reason"]
    assert first["reason"].map(bool, na_action="ignore").sum() == 2
    Later.failing, made[:] = (), []
    Later.asked.clear()
    second = command(tmp_path / "galaxies.csv", tmp_path / "out.parquet")
    assert made == [1]
    assert sorted(Later.asked) == ["1.jpg", "1.jpg", "4.jpg"]  # looked at, and where that is worth it read
    assert [bool(r) and not pd.isna(r) for r in second["reason"]] == [False] * 4 + [True] + [False] * 2


MIXED = {
    "a first shard without an image": ("id\n91\n92\n93\n0\n1\n", [91, 92, 93, 0, 1]),
    "ids that turn to text": ("id,image\n1,1.jpg\n2,2.jpg\n3,3.jpg\nJ5,5.jpg\n", ["1", "2", "3", "J5"]),
    "ra that turns to fractions": ("id,ra,dec\n0,1,2\n1,1,2\n2,1,2\n3,1.25,2\n", [0, 1, 2, 3]),
    "ra that is missing at first": ("id,ra,dec\n0,,\n1,,\n2,,\n3,1.25,2\n", [0, 1, 2, 3]),
    "ids above 2^63 in the end": ("id\n0\n1\n2\n18446744073709551615\n", [0, 1, 2, 2**64 - 1]),
}


@pytest.mark.parametrize(("text", "ids"), MIXED.values(), ids=MIXED)
def test_all_shards_are_of_one_schema(command, folder, tmp_path, text, ids):
    (tmp_path / "galaxies.csv").write_text(text)
    for name in ("out", "out.parquet", "out.csv", "out.fits"):
        table = command(tmp_path / "galaxies.csv", tmp_path / name, "--images", str(folder))
        assert [str(i) for i in table["id"]] == [str(i) for i in ids]
    schemas = {str(pq.read_schema(path).remove_metadata()) for path in (tmp_path / "out").glob("*.parquet")}
    whole = pq.read_schema(tmp_path / "out.parquet")
    assert schemas == {str(whole.remove_metadata())}
    assert ds.dataset(tmp_path / "out").to_table().num_rows == len(ids)
    assert str(whole.field("id").type) in columns.IDS
    assert {str(whole.field(name).type) for name in whole.names if name in ("ra", "dec")} <= {"double"}


def test_the_schema_has_the_columns_of_the_table_and_its_documented_types():
    schema = columns.schema(GZ2, "string", ("ra",))
    frame = columns.table(GZ2, pd.DataFrame({"id": ["a"], "ra": [1]}), np.zeros((1, 37)), np.zeros((1, 37)), [""])
    assert schema.names == list(frame.columns)
    rows = columns.to_arrow(frame, schema)
    assert rows.schema.types == schema.types
    assert {str(t) for t in schema.types} == {"string", "double", "float"}


def test_the_least_type_of_ids():
    of = columns.id_type
    assert of(pd.Series([1, 2], dtype="uint64")) == "int64"
    assert of(pd.Series([1, 2**63], dtype="uint64")) == "uint64"
    assert of(pd.Series([-1, 2**62])) == "int64"
    assert of(pd.Series([np.int64(1), np.int64(2)], dtype=object)) == "int64"
    assert of(pd.Series([np.uint64(2**64 - 1)], dtype=object)) == "uint64"
    assert of(pd.Series(["1", "2"])) == of(pd.Series([-1, 2**63], dtype=object)) == "string"


def test_a_table_without_rows_can_be_written_and_read(tmp_path):
    schema = columns.schema(GZ2, "int64", ("ra", "dec"))
    for name in ("a.parquet", "a.csv", "a.fits", "a.vot"):
        writers.write(iter([]), schema, tmp_path / name)
        assert list(read(tmp_path / name).columns) == schema.names


TEXTS = ["J1129+00", "é", "日本", "a,b", 'say "x"', "two\nlines", "=1+1", "x" * 3000, "nan", "104", "000104", "1e5"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".fits", ".vot"])
def test_every_format_gives_back_what_was_written(tmp_path, suffix):
    rng, path = np.random.default_rng(0), tmp_path / f"a{suffix}"
    fit = [name for name in TEXTS if suffix != ".fits" or (name.isascii() and name.isprintable())]
    for ids, kind in ((fit, "string"), ([2**63 - 1, -5], "int64"), ([2**64 - 1, 0], "uint64")):
        if (kind, suffix) == ("uint64", ".vot"):
            continue
        values = rng.random((len(ids), 37)).astype(np.float32)
        values[0] = np.nan
        frame = pd.DataFrame({"id": pd.Series(ids, dtype=object if kind == "string" else kind)})
        frame = frame.assign(ra=rng.random(len(ids)) * 360, dec=np.nan)
        schema = columns.schema(GZ2, kind, ("ra", "dec"))
        made = columns.to_arrow(
            columns.table(GZ2, frame, values, values / 3, ["broken", *[""] * (len(ids) - 1)]), schema
        )
        for row in fit if kind == "string" else []:
            writers.check_texts(pd.Series([row]), writers.KINDS[suffix], 0, "id")
        writers.write(iter([made[:1], made[1:]]), schema, path)
        again = list(writers.read(path, schema, [1, len(ids) - 1]))
        assert [len(part) for part in again] == [1, len(ids) - 1]
        back = pd.concat([part.to_pandas() for part in again], ignore_index=True)
        expected = made.to_pandas()
        if suffix != ".parquet":
            for name in ("reason", "caveat"):
                expected[name], back[name] = expected[name].replace("", None), back[name].replace("", None)
        pd.testing.assert_frame_equal(back, expected, check_exact=True)


UNFIT = {".fits": ["é", "two\nlines"], ".vot": ["\x01b", "a\rb"], ".csv": ["a\rb"], ".parquet": []}


@pytest.mark.parametrize(("suffix", "names"), UNFIT.items(), ids=UNFIT)
def test_ids_that_a_format_cannot_hold_are_told_before_the_work(command, tmp_path, suffix, names):
    for name in names:
        pd.DataFrame({"id": ["a", name], "image": "1.jpg"}).to_parquet(tmp_path / "galaxies.parquet")
        with pytest.raises(UserError, match=r"the id of galaxy 2, .*: --to a table of another kind \(.*\.parquet"):
            command(tmp_path / "galaxies.parquet", tmp_path / f"out{suffix}", "--images", str(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["galaxies.parquet"]


def test_what_else_a_format_cannot_hold_is_told_before_the_work(command, folder, tmp_path, monkeypatch):
    pd.DataFrame({"id": pd.Series([2**64 - 1], dtype="uint64")}).to_parquet(tmp_path / "galaxies.parquet")
    with pytest.raises(UserError, match="VOTable has no type for ids above"):
        command(tmp_path / "galaxies.parquet", tmp_path / "out.vot", "--images", str(folder))
    monkeypatch.setattr(writers, "_free_memory", lambda: 10_000)
    with pytest.raises(UserError, match=r"GB of memory as fits.*--to \.parquet"):
        command(folder, tmp_path / "out.fits")
    for name in ("out.txt", "out.csv.gz", "out.ecsv", "out.h5"):
        with pytest.raises(UserError, match=r"tables are written as \.parquet"):
            command(folder, tmp_path / name)
    assert Target(tmp_path / "shard.00017").joined is False


def test_a_file_name_that_is_not_utf8_is_told_before_the_work(command, folder, tmp_path):
    shutil.copy(folder / "1.jpg", os.fsencode(folder) + b"/caf\xe9.jpg")
    with pytest.raises(UserError, match=r"UTF-8.*rename|udce9.*UTF-8"):
        command(folder, tmp_path / "out.parquet")


def test_killed_between_the_table_and_its_record_it_is_joined_again(command, folder, made, tmp_path, monkeypatch):
    to = tmp_path / "out.csv"

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)  # all is done but for taking the shards away
        with pytest.raises(KeyboardInterrupt):
            command(folder, to)
    (tmp_path / "out.csv.json").unlink()
    made.clear()
    assert len(command(folder, to)) == 7
    assert made == []
    assert not (tmp_path / "out.csv.parts").exists()


def test_two_commands_at_once_are_told(command, folder, tmp_path):
    for name, lock in (("out", "out/_records/.lock"), ("out.csv", ".out.csv.json.lock")):
        (tmp_path / lock).parent.mkdir(parents=True, exist_ok=True)
        pid = os.fork()
        if not pid:
            locks.acquire(tmp_path / lock)
            (tmp_path / f"{name}.held").touch()
            time.sleep(30)
            os._exit(0)
        while not (tmp_path / f"{name}.held").exists():
            pass
        try:
            with pytest.raises(UserError, match="is being worked on by process"):
                command(folder, tmp_path / name)
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def test_a_catalogue_that_changes_while_it_is_read(command, folder, tmp_path, monkeypatch):
    catalogue, survey_of = tmp_path / "galaxies.csv", galaxies.Galaxies.survey
    catalogue.write_text("id\n0\n1\n2\n3\n")
    for text in ("id\n0\n1\n2\n5\n", "id\n0\n1\n2\n", "id\n0\n1\n2\n3\n4\n5\n6\n"):

        def then_changed(self, *arguments, text=text):
            found = survey_of(self, *arguments)
            catalogue.write_text(text)
            return found

        catalogue.write_text("id\n0\n1\n2\n3\n")
        monkeypatch.setattr(galaxies.Galaxies, "survey", then_changed)
        with pytest.raises(UserError, match="was changed while it was read"):
            command(catalogue, tmp_path / "out", "--images", str(folder))


def test_files_of_others_are_not_written_over(command, folder, tmp_path):
    theirs = tmp_path / "out" / "part-00000.parquet"
    theirs.parent.mkdir()
    theirs.write_text("theirs")
    with pytest.raises(UserError, match="not of our making"):
        command(folder, tmp_path / "out")
    assert theirs.read_text() == "theirs"
    with pytest.raises(UserError, match="cannot be written: "):
        command(folder, theirs / "out.csv")


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_a_flipped_byte_in_what_is_there_is_noticed(command, folder, tmp_path, made, name):
    to = tmp_path / name
    first = command(folder, to)
    path = to if to.is_file() else to / "part-00001.parquet"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    made.clear()
    if to.is_file():
        with pytest.raises(UserError, match=r"is damaged: .*--force"):
            command(folder, to)
    else:
        pd.testing.assert_frame_equal(command(folder, to), first, atol=1e-6)
        assert made == [3]


def test_shards_that_vanish_meanwhile_are_told(command, folder, tmp_path, monkeypatch):
    call = shards.Worker.__call__

    def then_gone(self, shard):
        told = call(self, shard)
        shutil.rmtree(shard.artifact.files[0].parent)
        return told

    monkeypatch.setattr(shards.Worker, "__call__", then_gone)
    with pytest.raises(UserError, match="have gone from"):
        command(folder, tmp_path / "out")
