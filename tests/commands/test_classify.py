"""Galaxies that nobody voted on: the same answers as in the competition, from wherever the images lie."""

import http.server
import io
import json
import os
import shutil
import tarfile
import threading
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table

from pipeline.catalogue import classify_worker, columns, descriptions, galaxies, shards
from pipeline.catalogue.target import Target
from pipeline.commands import classify
from pipeline.errors import UserError
from pipeline.models.classifier import Classifier
from pipeline.models.training_galaxies import UNLIKE
from pipeline.store.fractions import load_fractions
from pipeline.store.records import save_json
from pipeline.store.sealed_json import sealed
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2

COLUMNS = list(GZ2.columns)


@pytest.fixture(autouse=True)
def _networks_are_built_once(monkeypatch):
    """Which takes seconds; the worker processes of some tests build their own."""
    monkeypatch.setattr(classify_worker, "Classifier", _classifier)


_classifier = cache(Classifier)


def run(survey, catalogue: Path, to: Path, *flags: str) -> pd.DataFrame:
    """Classify, and the table that came of it, by id."""
    classify.main([str(catalogue), "--ensemble", str(survey.ensemble), "--to", str(to), *map(str, flags)])
    return read(to)


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        frame = pd.read_csv(path)
    elif path.suffix in (".fits", ".vot"):
        table = Table.read(path)
        table.convert_bytestring_to_unicode()
        frame = table.to_pandas()
    else:
        frame = pd.read_parquet(path)
    return frame.set_index(frame["id"].astype(int)).sort_index()


def expected(survey) -> pd.DataFrame:
    return load_fractions(survey.store.ensemble("final").files[1], GZ2).sort_index()


@pytest.fixture(scope="module")
def folder(survey, tmp_path_factory) -> Path:
    """The test images in a folder."""
    members = {f"{i}.jpg": survey.images[i] for i in survey.test_ids}
    return tiny.folder_of(tmp_path_factory.mktemp("images") / "test", members)


@pytest.fixture(scope="module")
def answered(survey, folder, tmp_path_factory) -> pd.DataFrame:
    return run(survey, folder, tmp_path_factory.mktemp("answers") / "answers.parquet")


def test_answers_are_those_of_the_stages_that_predict_and_blend(survey, answered):
    truth = expected(survey)
    assert answered.index.tolist() == truth.index.tolist()
    np.testing.assert_allclose(answered[COLUMNS], truth, atol=1e-5)
    assert (answered[[f"{c}_spread" for c in COLUMNS]].to_numpy() > 0).all()


def test_the_table_has_its_documented_columns(answered):
    spreads = [f"{c}_spread" for c in COLUMNS]
    last = ["five_class", "five_class_share", "reason", "caveat"]
    assert list(answered.columns) == ["id", *COLUMNS, *GZ2.names, *spreads, *(q.name for q in GZ2.questions), *last]
    assert all(caveat == "" or caveat.startswith(UNLIKE) for caveat in answered["caveat"])
    row = answered.iloc[0]
    assert row["disk-edge-on_yes"] == pytest.approx(row["Class2.1"] / row["Class1.2"], rel=1e-4)
    first = row[["Class1.1", "Class1.2", "Class1.3"]].to_numpy().argmax()
    assert row["smooth-or-featured"] == ("smooth", "featured-or-disk", "artifact")[first]
    assert row["five_class"] in GZ2.class_names
    assert 0.2 <= row["five_class_share"] <= 1


def zipped(folder: Path, survey) -> Path:
    return tiny.zip_of(folder / "all.zip", {f"in/{i}.jpg": survey.images[i] for i in survey.test_ids})


def tarred(folder: Path, survey) -> Path:
    """A folder of two tar shards."""
    shards_of = folder / "shards"
    shards_of.mkdir()
    for k in range(2):
        with tarfile.open(shards_of / f"{k}.tar", "w") as archive:
            for i in survey.test_ids[k::2]:
                info = tarfile.TarInfo(f"{i}.jpg")
                info.size = len(survey.images[i])
                archive.addfile(info, io.BytesIO(survey.images[i]))
    return shards_of


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_archives_hold_the_same(survey, answered, tmp_path, pack):
    made = run(survey, pack(tmp_path, survey), tmp_path / "answers")
    np.testing.assert_allclose(made[COLUMNS], answered[COLUMNS], atol=1e-6)


@pytest.fixture
def address(folder):
    """The images, served on loopback."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".fits", ".vot"])
def test_catalogues_and_tables_of_every_format(survey, folder, answered, tmp_path, suffix):
    ids = np.array(survey.test_ids)
    frame = pd.DataFrame({"objID": ids, "RA": np.linspace(0, 350, len(ids)), "Dec": -1.5, "mag": 17.0})
    catalogue = tmp_path / f"galaxies{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(catalogue)
    elif suffix == ".csv":
        frame.to_csv(catalogue, index=False)
    else:
        Table.from_pandas(frame).write(catalogue, format={".fits": "fits", ".vot": "votable"}[suffix])
    made = run(survey, catalogue, tmp_path / f"answers{suffix}", "--images", folder)
    np.testing.assert_allclose(made[COLUMNS], answered[COLUMNS], atol=1e-6)
    np.testing.assert_allclose(made["ra"], np.linspace(0, 350, len(ids)))
    assert made["five_class"].tolist() == answered["five_class"].tolist()
    assert made["dec"].tolist() == [-1.5] * len(ids)


def test_addresses_by_base_and_in_the_catalogue_and_what_is_not_there(survey, answered, address, tmp_path):
    ids = [*survey.test_ids, 7]
    frame = pd.DataFrame({"id": ids, "url": [f"{address}/{i}.jpg" for i in ids]})
    frame.to_csv(tmp_path / "whole.csv", index=False)
    frame.assign(url=[f"{i}.jpg" for i in ids]).to_csv(tmp_path / "short.csv", index=False)
    for flags in (["whole.csv"], ["short.csv", "--images", address]):
        made = run(survey, tmp_path / flags[0], tmp_path / f"{flags[0]}.parquet", *flags[1:])
        assert "404" in made.loc[7, "reason"]
        np.testing.assert_allclose(made.drop(7)[COLUMNS], answered[COLUMNS], atol=1e-6)


def test_ids_keep_their_letters_and_their_own_images(survey, answered, tmp_path):
    """Names that shorten, round or strip to one another, from a table as spreadsheets save it."""
    first, second, third = survey.test_ids[:3]
    names = {"1237.1": first, "1237.2": second, "000104": third, "104": first, "12e5": second, "NA": third}
    images = {f"in/{name}.JPG": survey.images[i] for name, i in names.items()}
    (tmp_path / "galaxies.tsv").write_text("#Table1\nobjID\tRA \n" + "".join(f"{name}\t1\n" for name in names))
    to = tmp_path / "answers.csv"
    archive = tiny.zip_of(tmp_path / "all.zip", images)
    flags = ["--ensemble", str(survey.ensemble), "--to", str(to), "--images", str(archive), "--views", "1"]
    classify.main([str(tmp_path / "galaxies.tsv"), *flags])
    made = pd.read_csv(to, dtype={"id": str}, keep_default_na=False).set_index("id")
    assert made.index.tolist() == list(names)
    assert (made["reason"] == "").all()
    for name, twin in (("1237.1", "104"), ("1237.2", "12e5"), ("000104", "NA")):
        assert (made.loc[name, COLUMNS] == made.loc[twin, COLUMNS]).all()
    assert (made.loc["000104", COLUMNS] != made.loc["104", COLUMNS]).any()


def test_images_beside_the_catalogue(survey, folder, answered, tmp_path):
    frame = pd.DataFrame({"name": survey.test_ids, "file_loc": [f"test/{i}.jpg" for i in survey.test_ids]})
    frame.to_csv(folder.parent / "galaxies.csv", index=False)
    made = run(survey, folder.parent / "galaxies.csv", tmp_path / "answers.csv")
    np.testing.assert_allclose(made[COLUMNS], answered[COLUMNS], atol=1e-6)


def test_bad_images_are_rows_with_a_reason(survey, answered, tmp_path):
    good = survey.test_ids[0]
    bad = {
        "1.jpg": b"",
        "2.jpg": survey.images[good][:900],
        "3.png": b"\x89PNG\r\n\x1a\n",
        "4.fits": b"SIMPLE  =",
        "5.jpg": tiny.jpeg(tiny.galaxy(1, side=24)),
        f"{good}.jpg": survey.images[good],
        "6.jpg": tiny.jpeg(255 - tiny.galaxy(1)),
    }
    made = run(survey, tiny.folder_of(tmp_path / "images", bad), tmp_path / "answers.parquet")
    made = made.sort_index()
    assert made["reason"].map(bool).tolist() == [True] * 5 + [False] * 2
    assert made["caveat"].str.contains("negative").tolist() == [False] * 5 + [True, False]
    assert "negative" in made.loc[6, "caveat"]
    assert made.loc[6, COLUMNS].notna().all()
    assert made.loc[[1, 2, 3, 4, 5], [*COLUMNS, "five_class_share"]].isna().all(axis=None)
    assert made.loc[[1, 2, 3, 4, 5], "five_class"].isna().all()
    np.testing.assert_allclose(
        made.loc[good, COLUMNS].astype(float), answered.loc[good, COLUMNS].astype(float), atol=1e-6
    )


def test_what_is_done_is_not_done_again_and_other_rows_are_refused(survey, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(galaxies, "ROWS", 5)
    to, catalogue = tmp_path / "answers", tmp_path / "galaxies.csv"

    def write(ids) -> None:
        pd.DataFrame({"id": ids}).to_csv(catalogue, index=False)

    write(survey.test_ids)
    made = run(survey, catalogue, to, "--images", folder)
    assert len(list(to.glob("part-*.parquet"))) == 3
    times = {path: path.stat().st_mtime_ns for path in to.glob("part-*.parquet")}
    (to / "_records" / "part-00001.json").unlink()
    np.testing.assert_allclose(run(survey, catalogue, to, "--images", folder)[COLUMNS], made[COLUMNS], atol=1e-6)
    again = [path.name for path, time in times.items() if path.stat().st_mtime_ns != time]
    assert again == ["part-00001.parquet"]
    write(survey.test_ids[:5])
    with pytest.raises(UserError, match="another catalogue"):
        run(survey, catalogue, to, "--images", folder)
    assert len(run(survey, catalogue, to, "--images", folder, "--force")) == 5


def test_a_joined_table_is_made_once(survey, folder, tmp_path, monkeypatch):
    to = tmp_path / "answers.parquet"
    run(survey, folder, to)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"answers.parquet{end}" for end in ("", ".images.npy", ".json")
    ]
    with monkeypatch.context() as nobody:
        nobody.setattr(shards.Worker, "__call__", None)
        run(survey, folder, to)
    with pytest.raises(UserError, match="is not what this command makes"):
        run(survey, folder, to, "--views", "1")
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(UserError, match="choose another name"):
        run(survey, folder, tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "mine"


@pytest.mark.slow
def test_several_processes_make_the_same(survey, folder, answered, tmp_path, monkeypatch):
    monkeypatch.setattr(galaxies, "ROWS", 4)
    made = run(survey, folder, tmp_path / "answers.parquet", "--workers", "2")
    np.testing.assert_allclose(made[COLUMNS], answered[COLUMNS], atol=1e-6)


@pytest.mark.slow
def test_a_local_ray_makes_the_same(survey, folder, answered, tmp_path, monkeypatch):
    monkeypatch.setattr(galaxies, "ROWS", 4)
    made = run(survey, folder, tmp_path / "answers.parquet", "--engine", "ray")
    np.testing.assert_allclose(made[COLUMNS], answered[COLUMNS], atol=1e-6)


def test_views_by_number(survey, folder, answered, tmp_path):
    made = run(survey, folder, tmp_path / "answers.parquet", "--views", "1")
    gap = np.abs(made[COLUMNS].to_numpy() - answered[COLUMNS].to_numpy()).max()
    assert 0 < gap < 0.3


REFUSED = {
    "views": (["--views", "3"], "--views: expected a view set"),
    "no ensemble": (["--ensemble", "nowhere"], "expected an ensemble such as"),
    "images of images": (["--images", "x.zip"], "is not a table"),
}


@pytest.mark.parametrize(("flags", "said"), REFUSED.values(), ids=REFUSED)
def test_mistakes_are_told_before_work_begins(survey, folder, tmp_path, flags, said):
    with pytest.raises(UserError, match=said):
        run(survey, folder, tmp_path / "answers.parquet", *flags)
    assert list(tmp_path.iterdir()) == []


CATALOGUES = {
    "no ids": ("ra,dec\n1,2\n", "no column of ids"),
    "empty": ("id,image\n", "holds no galaxies"),
    "not a table": ("\0\0", "no table but binary"),
    "no images": ("id\n1\n", "names no images"),
    "half an angle": ("id,image,radius\n1,a.jpg,3\n", "takes two columns"),
    "an id twice": ("id,image\n1,a.jpg\n1,b.jpg\n", "twice"),
}


@pytest.mark.parametrize(("text", "said"), CATALOGUES.values(), ids=CATALOGUES)
def test_catalogues_that_cannot_be_read_are_told(survey, tmp_path, text, said):
    (tmp_path / "galaxies.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        run(survey, tmp_path / "galaxies.csv", tmp_path / "answers.parquet")


def test_a_flipped_byte_in_a_networks_weights_is_found(survey, folder, tmp_path):
    path = survey.store.trained("fine", 1).files[0]
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-9] + b"x" + whole[-8:])
        with pytest.raises(UserError, match=r"fold 1 of fine cannot be used: .*sha256"):
            run(survey, folder, tmp_path / "answers.parquet")
    finally:
        path.write_bytes(whole)


def test_where_nothing_can_be_read_three_examples_are_told_and_nothing_is_left(survey, folder, address, tmp_path):
    catalogue = tmp_path / "galaxies.csv"
    pd.DataFrame({"id": survey.test_ids[:4]}).to_csv(catalogue, index=False)
    (tmp_path / "empty").mkdir()
    tried = rf"not one of 4 images could be read: galaxy {survey.test_ids[0]} \({address}/none/{survey.test_ids[0]}\) "
    for to in (tmp_path / "answers.parquet", tmp_path / "answers"):
        with pytest.raises(UserError, match=tried) as error:
            run(survey, catalogue, to, "--images", f"{address}/none", "--views", "1")
        assert str(error.value).count("404") == 3
        assert not to.is_file()
        assert not list(to.glob("**/part-*"))
        assert len(run(survey, catalogue, to, "--images", folder, "--views", "1")) == 4  # the mended command


def test_the_answers_hold_kept_columns_and_say_where_they_are_from(survey, folder, tmp_path):
    ids = survey.test_ids[:3]
    table = Table({"id": ids, "RA": [0.7, 1.0, 2.0], "z": [0.1, 0.2, 0.3], "name": ["a", "b", "c"]})
    table["RA"].unit = "hourangle"
    table.write(tmp_path / "galaxies.vot", format="votable")
    flags = ["--images", folder, "--keep", "z,name", "--keep", "RA", "--views", "1", "--ra-column", "RA"]
    with pytest.raises(UserError, match="--keep RA: the answers have a column of that name"):
        run(survey, tmp_path / "galaxies.vot", tmp_path / "answers.fits", *flags)
    del flags[4:6]
    made = run(survey, tmp_path / "galaxies.vot", tmp_path / "answers.fits", *flags)
    assert list(made.columns[:5]) == ["id", "ra", "z", "name", "Class1.1"]
    np.testing.assert_allclose(made["ra"], [10.5, 15, 30])
    assert made["name"].tolist() == ["a", "b", "c"]
    header = fits.getheader(tmp_path / "answers.fits", 1)
    assert header["ENSEMBLE"] == "survey/ensembles/final"
    assert (header["COLVERS"], header["TUNIT2"], header["TUCD2"]) == (
        str(columns.VERSION),
        "deg",
        "pos.eq.ra;meta.main",
    )
    assert header["IMSCALE"].startswith("none")
    with pytest.raises(UserError, match="other columns to --keep"):
        run(survey, tmp_path / "galaxies.vot", tmp_path / "answers.fits", "--images", folder, "--views", "1")


def test_what_is_to_be_known_of_the_ensemble_goes_into_log_and_tables(survey, folder, tmp_path, caplog):
    """The networks of this survey began at random weights."""
    run(survey, folder, tmp_path / "answers.fits", "--views", "1")
    assert [r.getMessage() for r in caplog.records if "CAVEAT: Started from RANDOM weights" in r.getMessage()]
    assert (
        "RANDOM weights, not from pretrained ones: head, fine."
        in fits.getheader(tmp_path / "answers.fits", 1)["CAVEATS"]
    )
    run(survey, folder, tmp_path / "answers.csv", "--views", "1")
    record = tmp_path / "answers.csv.json"
    header = json.loads(record.read_text())["header"]
    assert "RANDOM weights" in header["caveats"]
    assert set(header) == set(descriptions.HEADER) - {"interval"}
    for path in folder.iterdir():
        os.utime(path, (1, 1))  # the same images, dated otherwise
    run(survey, folder, tmp_path / "answers.csv", "--views", "1")
    assert json.loads(record.read_text())["header"] == header


@pytest.fixture(scope="module")
def stated(survey, folder, tmp_path_factory) -> Path:
    """A FITS table with intervals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classify_worker, "Classifier", _classifier)
        run(survey, folder, path := tmp_path_factory.mktemp("stated") / "answers.fits", "--intervals")
    return path


def narrower_by_averaging(survey, labels: pd.DataFrame) -> pd.DataFrame:
    """By how much the mean of both folds is nearer to the truth than either, from the files of the stages."""
    question = np.repeat(range(len(GZ2.questions)), [len(q.answers) for q in GZ2.questions])
    weights = {run: np.array(w)[question] for run, w in survey.store.ensemble("final").record()["weights"].items()}
    parts = {run: [survey.store.predicted(run, fold).files[1] for fold in range(2)] for run in weights}
    of_folds = [sum(weights[run] * pd.read_parquet(parts[run][fold]) for run in weights) for fold in range(2)]
    gained = (of_folds[0] - of_folds[1]) ** 2 / 4
    oof = pd.read_parquet(survey.ensemble / "oof.parquet").loc[labels.index]
    return np.sqrt((1 - gained / ((oof - labels) ** 2).mean()).clip(lower=0.25)).sort_index()


def test_intervals_are_what_the_out_of_fold_residuals_say_by_other_code(survey, answered, stated):
    """Of 30 galaxies: 28 of their 30 residuals, and of the next, lie within the 28th smallest."""
    made, labels = read(stated), survey.store.load_labels()
    shrunk = narrower_by_averaging(survey, labels)
    oof = pd.read_parquet(survey.ensemble / "oof.parquet").loc[labels.index]
    for column in COLUMNS:
        half = np.sort(np.abs(labels[column] - oof[column]).to_numpy(np.float64))[int(np.ceil(31 * 0.9)) - 1]
        half = half * shrunk[column]
        np.testing.assert_allclose(made[f"{column}_low"], np.clip(made[column] - half, 0, 1), atol=2e-4)
        np.testing.assert_allclose(made[f"{column}_high"], np.clip(made[column] + half, 0, 1), atol=2e-4)
    assert made["five_class_confidence"].isna().all(), "too few of 30 have clear votes"
    np.testing.assert_allclose(made[COLUMNS], answered[COLUMNS], atol=1e-6)
    added = [name for name in made if name not in answered]
    assert added == [*(f"{c}_{end}" for end in ("low", "high") for c in COLUMNS), "five_class_confidence"]


def test_columns_of_intervals_are_described_and_the_header_says_what_calibrated_them(stated):
    header = fits.getheader(stated, 1)
    n = {header[f"TTYPE{i}"]: i for i in range(1, header["TFIELDS"] + 1)}
    assert header[f"TCOMM{n['Class1.1_low']}"] == "smooth-or-featured = smooth: 90 % interval from"
    assert header[f"TUCD{n['Class1.1_high']}"] == "stat.probability;stat.max"
    assert "calibrated probability" in header[f"TCOMM{n['five_class_confidence']}"]
    assert header["INTERVAL"] == "0.9, calibrated on 30 galaxies out of fold"


def test_another_share_is_another_table_and_an_unread_image_has_no_interval(survey, folder, tmp_path):
    one = survey.test_ids[0]
    images = tiny.folder_of(tmp_path / "images", {"1.jpg": b"", f"{one}.jpg": (folder / f"{one}.jpg").read_bytes()})
    made = run(survey, images, tmp_path / "answers", "--intervals", "0.5")
    assert made.loc[1, ["Class1.1_low", "Class1.1_high", "five_class_confidence"]].isna().all()
    wider = run(survey, images, tmp_path / "wider.csv", "--intervals", "0.9")
    assert (made.loc[one, "Class1.1_low"] >= wider.loc[one, "Class1.1_low"]).all()
    with pytest.raises(UserError, match="other --intervals"):
        run(survey, images, tmp_path / "answers", "--intervals", "0.8")


@pytest.mark.parametrize("share", ["0", "1", "90", "much"])
def test_a_share_that_is_none_is_told(survey, folder, tmp_path, share, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(survey, folder, tmp_path / "answers.csv", "--intervals", share)
    assert "--intervals: expected a share between 0 and 1, such as 0.9" in capsys.readouterr().err


def test_intervals_by_other_views_than_those_that_calibrate_them_are_refused(survey, folder, tmp_path):
    with pytest.raises(
        UserError, match=r"calibrated on the predictions of head by the views flips4.*leave out --views"
    ):
        run(survey, folder, tmp_path / "answers.csv", "--intervals", "--views", "1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["answers.csv", "answers.parquet", "answers.fits", "answers"])
def test_the_likeliest_stand_beside_the_table_the_likeliest_first(survey, folder, tmp_path, monkeypatch, name):
    monkeypatch.setattr(galaxies, "ROWS", 5)
    for _ in range(2):  # as the table is made, and where it is complete
        whole = run(survey, folder, tmp_path / name, "--most-likely", "ring", "--top", "7")
        suffix = Path(name).suffix or ".parquet"
        beside = read_in_order(tmp_path / f"answers.most-likely-ring{suffix}")
        expected = whole.sort_values("Class8.1", ascending=False, kind="stable").head(7)
        assert beside["id"].astype(int).tolist() == expected.index.tolist()
        assert list(beside.columns) == list(whole.columns)
        np.testing.assert_allclose(beside[COLUMNS], expected[COLUMNS], rtol=1e-6)


def read_in_order(path: Path) -> pd.DataFrame:
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    return readers.get(path.suffix, lambda path: Table.read(path).to_pandas())(path)


def test_an_answer_that_there_is_not_is_told_before_any_work(survey, folder, tmp_path):
    with pytest.raises(UserError, match=r"--most-likely rings: no answer .* did you mean .*ring"):
        run(survey, folder, tmp_path / "answers.csv", "--most-likely", "rings")
    assert not list(tmp_path.iterdir())


def chessboard() -> bytes:
    """What no galaxy looks like."""
    y, x = np.mgrid[:424, :424]
    return tiny.jpeg((200 * ((x // 30 + y // 30) % 2)).astype(np.uint8))


def test_what_looks_unlike_the_galaxies_trained_on_is_told_in_row_log_and_record(survey, tmp_path, caplog):
    of_fold_0 = survey.store.load_folds() == 0
    known = of_fold_0.index[~of_fold_0][0]  # the network that looks was trained on it
    images = {"1.jpg": survey.images[known], "2.jpg": chessboard(), "3.jpg": b"none"}
    to = tmp_path / "answers.parquet"
    made = run(survey, tiny.folder_of(tmp_path / "images", images), to, "--views", "1")
    assert [UNLIKE in caveat for caveat in made["caveat"]] == [False, True, False]
    assert json.loads(to.with_name("answers.parquet.json").read_text())["unlike"] == 1
    (said,) = [record for record in caplog.records if "look unlike those trained on" in record.getMessage()]
    assert "1 of 2 galaxies" in said.getMessage()  # of those that were read
    assert said.levelname == "WARNING"


def test_a_complete_table_needs_no_crops_to_say_so(survey, folder, tmp_path, caplog):
    root = survey.store.root
    shutil.copytree(root, tmp_path / root.name)
    ensemble = tmp_path / root.name / survey.ensemble.relative_to(root)
    command = [str(folder), "--ensemble", str(ensemble), "--to", str(tmp_path / "answers.parquet"), "--views", "1"]
    classify.main(command)
    for crops in (tmp_path / root.name / "crops").glob("*/train.npy"):
        crops.unlink()
    caplog.clear()
    classify.main(command)
    assert [record for record in caplog.records if "look unlike those trained on" in record.getMessage()]


def test_an_ensemble_that_came_without_its_crops_answers_all_the_same(survey, folder, answered, tmp_path, caplog):
    alone = tmp_path / "survey"
    shutil.copytree(survey.store.root, alone, ignore=shutil.ignore_patterns("train.npy"))
    to = tmp_path / "answers.parquet"
    classify.main([str(folder), "--ensemble", str(alone / "ensembles" / "final"), "--to", str(to)])
    np.testing.assert_array_equal(read(to)[COLUMNS], answered[COLUMNS])
    assert "unlike" not in json.loads(to.with_name("answers.parquet.json").read_text())
    assert "what looks unlike the galaxies trained on is not told" in caplog.text


@pytest.fixture
def long_work(survey, folder, tmp_path) -> Path:
    """A table that is recorded as the work of an hour."""
    to = tmp_path / "answers.parquet"
    run(survey, folder, to, "--views", "1")
    table = Target(to).table
    save_json(table.record_path, sealed(table.required() | {"seconds": 3600.0}))
    return to


def test_force_asks_before_it_discards_an_hours_work(survey, folder, long_work):
    before = long_work.read_bytes()
    with pytest.raises(UserError, match=r"discards .*answers.parquet, 12 galaxies: 1 h 00 min of work.* add --yes"):
        run(survey, folder, long_work, "--views", "1", "--force")
    assert long_work.read_bytes() == before
    run(survey, folder, long_work, "--views", "1", "--force", "--yes")
    record = json.loads(long_work.with_name("answers.parquet.json").read_text())
    assert record["seconds"] < 3600


def test_force_asks_before_it_overwrites_what_it_has_not_made_and_says_what_moments_of_work_it_discards(
    survey, folder, tmp_path, caplog
):
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(UserError, match=r"mine.csv, which this command has not made\. Go on"):
        run(survey, folder, tmp_path / "mine.csv", "--force")
    assert (tmp_path / "mine.csv").read_text() == "mine"
    caplog.set_level("INFO")
    for _ in range(2):
        run(survey, folder, tmp_path / "answers", "--views", "1", "--force")
    assert "rebuilding discards" in caplog.text
    assert f"{tmp_path / 'answers'}, 12 galaxies" in caplog.text
