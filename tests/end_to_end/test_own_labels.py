"""A user's own galaxies from the folder to the report: classes, rare ones, votes, several questions."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from pipeline import cli
from pipeline.commands import classify, export, run, status
from pipeline.errors import UserError
from pipeline.plans.config import load_plan
from pipeline.report import comparison, leaderboard
from pipeline.stages import crops, folds, inputs, submit
from pipeline.store.artifacts import Store
from pipeline.store.fractions import load_fractions
from tests.builders import own_galaxies

N = 40
VOTES = """
kind = "votes"
[[questions]]
name = "shape"
answers = ["smooth", "disc"]
[[questions]]
name = "arms"
answers = ["few", "many"]
parent = "shape: disc"
"""
TWO = """
kind = "class"
[[questions]]
name = "shape"
answers = ["smooth", "disc"]
[[questions]]
name = "size"
answers = ["small", "large"]
"""
RARE = """
kind = "class"
class_weights = "balanced"
[[questions]]
name = "ring"
column = "label"
answers = ["ring", "no ring"]
"""


@pytest.fixture(scope="module")
def drawn() -> SimpleNamespace:
    images, discs = own_galaxies.pictures(N + 4, 64)
    return SimpleNamespace(images=images, discs=discs, words=["disc" if one else "smooth" for one in discs])


def names(count: int, suffix: str = ".png") -> list[str]:
    return [f"J{i:03d}+{i}{suffix}" for i in range(count)]


def flags(folder: Path, plan: Path) -> list[str]:
    return ["--plan", str(plan), "--output", str(folder / "output"), "--input", str(folder / "mine")]


def whole(folder: Path, plan: Path) -> Store:
    run.main([str(plan), "--output", str(folder / "output"), "--input", str(folder / "mine")])
    return Store(folder / "output" / "mine")


@pytest.fixture(scope="module")
def classes(tmp_path_factory, drawn) -> SimpleNamespace:
    """Two classes of 64 px PNGs with text ids, told by a column of the table alone; four more to predict."""
    folder = tmp_path_factory.mktemp("classes")
    mine = own_galaxies.write(folder / "mine", drawn.images[:N], names(N), "objid,class", drawn.words[:N])
    (mine / "test").mkdir()
    for name, image in zip(names(4, ".jpg"), drawn.images[N:], strict=True):
        (mine / "test" / f"t{name}").write_bytes(own_galaxies.encoded(image, ".jpg"))
    return SimpleNamespace(folder=folder, store=whole(folder, own_galaxies.plan(folder)))


def test_a_column_of_classes_gets_a_leaderboard_by_log_loss_and_a_report(classes, drawn):
    store = classes.store
    board = leaderboard.read(store.report().verified("leaderboard.csv"))
    assert list(board.columns[:5]) == ["name", "kind", "log_loss", "log_loss_low", "log_loss_high"]
    assert {"accuracy", "balanced_accuracy", "f1", "average_precision"} <= set(board.columns)
    assert board["log_loss"].is_monotonic_increasing
    truth, made = store.load_labels(), load_fractions(store.ensemble("final").verified("oof.parquet"), store.schema())
    assert made.index.tolist() == truth.index.tolist() == [Path(name).stem for name in sorted(names(N))]
    np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-4)
    by_hand = -np.log((truth.to_numpy() * made.to_numpy()).sum(axis=1)).mean()
    assert "log_loss" in store.predicted(board["name"][board["kind"] == "run"].iloc[0], 0).facts()
    assert board.set_index("name")["log_loss"]["final"] == pytest.approx(by_hand, abs=1e-5)
    lines = list(comparison.comparison_lines(store.root, store.root))
    assert lines[2].startswith("log loss ")
    (final,) = [line for line in lines if line.startswith("ensembles/final ")]
    assert float(final.split()[1]) == pytest.approx(by_hand, abs=1e-4)
    assert [line.split()[0] for line in lines if " accuracy " in f" {line}"] == ["accuracy"]
    page = store.report().verified("report.html").read_text()
    for said in ("log loss, out of fold", "Balanced accuracy", "Average precision", "Confusion", "Calibration"):
        assert said in page
    assert "volunteers" not in page.lower()


def test_without_a_sample_file_there_is_a_table_of_predictions(classes):
    table = pd.read_csv(classes.store.submission("final").verified(), dtype={0: str})
    assert list(table.columns) == ["GalaxyID", "class_disc", "class_smooth"]
    assert table["GalaxyID"].tolist() == sorted(f"t{Path(name).stem}" for name in names(4))
    np.testing.assert_allclose(table.iloc[:, 1:].sum(axis=1), 1, atol=1e-4)


def test_sets_of_classes_are_calibrated_and_stand_in_table_and_report(classes, tmp_path):
    assert "Sets of answers that state 90 % hold" in classes.store.report().verified("report.html").read_text()
    ensemble = classes.store.ensemble("final").record_path.parent
    images, to = classes.folder / "mine" / "test", tmp_path / "answers.csv"
    classify.main([str(images), "--ensemble", str(ensemble), "--to", str(to), "--intervals"])
    made = pd.read_csv(to)
    assert list(made.columns[-3:]) == ["class_set", "reason", "caveat"]
    assert set(made["class_set"]) <= {"disc", "smooth", "disc, smooth"}
    assert all(leading in found for leading, found in zip(made["class"], made["class_set"], strict=True))


def test_what_was_inferred_can_be_edited(classes):
    text = (classes.store.inputs().record_path.parent / "labels.toml").read_text()
    assert 'answers = ["disc", "smooth"]' in text
    (classes.folder / "labels.toml").write_text(text)
    changed = own_galaxies.plan(classes.folder, 'labels = "labels.toml"')
    assert load_plan(str(changed)).labels == str(classes.folder / "labels.toml")
    own_galaxies.plan(classes.folder)


def test_a_schema_that_changed_says_what_becomes_stale(classes):
    (classes.folder / "other.toml").write_text(TWO.partition("[[questions]]\nname = \"size\"")[0].replace(
        '"shape"', '"class"'))  # fmt: skip
    changed = own_galaxies.plan(classes.folder, 'labels = "other.toml"')
    with pytest.raises(UserError, match=r"schema other has changed .* become stale.* --force"):
        inputs.main(flags(classes.folder, changed))
    own_galaxies.plan(classes.folder)
    inputs.main(flags(classes.folder, classes.folder / "mine.toml"))  # nothing was lost


def test_another_weighting_of_classes_is_another_input(tmp_path):
    given = prepared(tmp_path, "objid,label", ["ring", "no ring"] * 3, 'labels = "labels.toml"')
    (tmp_path / "labels.toml").write_text(RARE)
    inputs.main(given)
    artifact = Store(tmp_path / "output" / "mine").inputs()
    before = artifact.digest()
    (tmp_path / "labels.toml").write_text(RARE.replace("balanced", "none"))
    inputs.main([*given, "--force"])
    assert artifact.digest() != before


@pytest.mark.slow
def test_a_rare_class_votes_and_two_questions(tmp_path, drawn):
    rare = ["ring" if i % 13 == 0 else "no ring" for i in range(N)]
    counts = [f"{3 + i % 5},{9 - i % 5},{i % 4},{'' if i % 3 else 2}" for i in range(N)]
    two = [f"{word},{'large' if i % 3 else 'small'}" for i, word in enumerate(drawn.words[:N])]
    two[5] = "disc,"  # unknown
    cases = {
        "rare": (RARE, "objid,label", rare, "log_loss"),
        "votes": (VOTES, "objid,shape_smooth,shape_disc,arms_few,arms_many", counts, "rmse"),
        "two": (TWO, "objid,shape,size", two, "log_loss"),
    }
    for name, (schema, header, rows, decides) in cases.items():
        folder = tmp_path / name
        own_galaxies.write(folder / "mine", drawn.images[:N], names(N), header, rows)
        (folder / "labels.toml").write_text(schema)
        store = whole(folder, own_galaxies.plan(folder, 'labels = "labels.toml"'))
        board = leaderboard.read(store.report().verified("leaderboard.csv"))
        assert board.columns[2] == decides
        assert board[decides].notna().all()
        assert not store.submission("final").exists()  # nothing to predict
        assert len(store.load_sample()[1]) == 0
        page = store.report().verified("report.html").read_text()
        assert "average precision" in page.lower() or decides == "rmse"


def prepared(tmp_path, header: str, rows: list[str], head: str = "", *, count: int | None = None) -> list[str]:
    blank = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    count = len(rows) if count is None else count
    images = [np.roll(blank, i, axis=1) for i in range(count)]
    own_galaxies.write(tmp_path / "mine", images, names(count), header, rows[:count])
    if len(rows) > count:
        with open(tmp_path / "mine" / "labels.csv", "a") as file:
            file.writelines(f"X{i},{row}\n" for i, row in enumerate(rows[count:]))
    return flags(tmp_path, own_galaxies.plan(tmp_path, head))


def test_labels_without_images_and_images_without_labels_are_left_out_and_told(tmp_path, caplog):
    words = ["disc", "smooth"] * 4
    given = prepared(tmp_path, "objid,class", words, count=6)
    (tmp_path / "mine" / "images" / "stranger.png").write_bytes(
        (tmp_path / "mine" / "images" / names(1)[0]).read_bytes()
    )
    inputs.main(given)
    record = Store(tmp_path / "output" / "mine").inputs().required()
    assert record["n_train"] == 6
    assert any("labels without an image" in one and "2 galaxies (such as X0, X1)" in one for one in record["left_out"])
    assert any("images without a label" in one and "1 (such as stranger.png)" in one for one in record["left_out"])


def test_status_tells_that_the_table_of_labels_has_changed(tmp_path):
    given = prepared(tmp_path, "objid,class", ["disc", "smooth"] * 4)
    inputs.main(given)
    asked = cli.parse(cli.parser("status"), given[:4])
    assert "  inputs     1 of 1 complete" in status.table(asked)
    table = tmp_path / "mine" / "labels.csv"
    table.write_text(table.read_text().replace("smooth", "disc", 1))
    told = "    changed   inputs: the table of labels is not the one that stage 0 read"
    folds.main(given[:4])
    assert told in status.table(asked)
    assert "    outdated  folds: inputs is changed" in status.table(asked)
    shutil.rmtree(tmp_path / "mine")
    assert "  inputs     1 of 1 complete" in status.table(asked)


def test_labels_that_the_schema_does_not_know_are_not_told_as_images_that_are_missing(tmp_path):
    given = prepared(tmp_path, "objid,label", ["disc", "smooth"] * 4, 'labels = "labels.toml"')
    (tmp_path / "labels.toml").write_text(RARE)
    with pytest.raises(UserError, match="'disc' in column 'label' of 4 galaxies") as error:
        inputs.main(given)
    assert "has an image" not in str(error.value)


def test_a_part_of_own_galaxies_has_their_images_and_votes_or_is_too_small(tmp_path):
    words = ["disc", "smooth"] * 10
    inputs.main(prepared(tmp_path, "objid,class", words, "galaxies = 0.5"))
    store = Store(tmp_path / "output" / "mine")
    labels, table = store.load_labels(), pd.read_parquet(store.inputs().files[0])
    assert (len(labels), labels.sum().tolist()) == (10, [5, 5])
    for galaxy, row in labels.iterrows():
        number = int(galaxy[1:4])
        assert row.tolist() == ([1, 0] if words[number] == "disc" else [0, 1])
        assert table.loc[galaxy, "image: name"] == names(20)[number]
    with pytest.raises(UserError, match=r"galaxies = 5 are 5 of 20, too few: .* fewer than the plan's"):
        inputs.main(prepared(tmp_path / "few", "objid,class", ["a", "b", "c", "d"] * 5, "galaxies = 5"))


BAD = {
    "another label for the same id": ("objid,class", ["disc", "smooth", "disc\nJ000+0,smooth"], "with other labels: 1"),
    "fewer galaxies than folds": ("objid,class", ["disc", "disc", "smooth"], "'smooth' .* has 1 galaxy, fewer than"),
    "no column of classes": ("objid,colour", ["red", "blue"], "describe the labels in a schema"),
}


@pytest.mark.parametrize(("header", "rows", "said"), BAD.values(), ids=BAD)
def test_bad_labels_are_told_and_nothing_is_written(tmp_path, header, rows, said):
    with pytest.raises(UserError, match=said):
        inputs.main(prepared(tmp_path, header, rows))
    assert not (tmp_path / "output" / "mine" / "inputs").exists()


@pytest.mark.parametrize("gone", [True, False])
def test_images_that_changed_after_they_were_checked_are_told(tmp_path, gone):
    given = prepared(tmp_path, "objid,class", ["disc", "smooth"] * 2)
    inputs.main(given)
    first = tmp_path / "mine" / "images" / names(1)[0]
    if gone:
        first.unlink()
    else:
        first.write_bytes(own_galaxies.encoded(np.full((40, 40, 3), 7, np.uint8)))
    with pytest.raises(UserError, match=r"the train images in .* have changed since they were checked"):
        crops.main(given[:4])


def test_no_image_at_all_is_told_with_an_example(tmp_path):
    given = prepared(tmp_path, "objid,class", ["disc", "smooth"])
    for path in (tmp_path / "mine" / "images").iterdir():
        path.rename(path.with_name("x" + path.name))
    with pytest.raises(
        UserError, match=r"no galaxy of labels.csv has an image \(such as J000\+0; the images are named"
    ):
        inputs.main(given)


def test_a_class_whose_images_are_all_the_same_is_told_before_training(tmp_path):
    given = prepared(tmp_path, "objid,class", ["disc", "disc", "smooth", "smooth"])
    first = (tmp_path / "mine" / "images" / names(3)[2]).read_bytes()
    (tmp_path / "mine" / "images" / names(4)[3]).write_bytes(first)
    inputs.main(given)
    with pytest.raises(UserError, match="all 2 galaxies of 'smooth' lie in fold"):
        folds.main(given[:4])


def test_a_folder_without_labels_is_told_what_is_expected(tmp_path):
    (tmp_path / "mine" / "images").mkdir(parents=True)
    with pytest.raises(UserError, match="competition's 4 files"):
        inputs.main(flags(tmp_path, own_galaxies.plan(tmp_path)))
    (tmp_path / "labels.toml").write_text(TWO)
    with pytest.raises(UserError, match=r"expected a table of labels, such as labels.csv"):
        inputs.main(flags(tmp_path, own_galaxies.plan(tmp_path, 'labels = "labels.toml"')))


def test_images_of_several_sides_and_formats_are_cut_alike(tmp_path):
    """The same share of the side is shown, whatever that is; from 32 pixels on."""
    image = np.zeros((128, 128, 3), np.uint8)
    image[32:96, 32:96] = 200
    sides = [32, 64, 128, 500]
    images = [cv2.resize(image, (side, side), interpolation=cv2.INTER_NEAREST) for side in sides]
    given = [own + suffix for own, suffix in zip("abcd", (".png", ".png", ".jpg", ".png"), strict=True)]
    own_galaxies.write(tmp_path / "mine", images, given, "id,label", ["x", "y", "x", "y"])
    plan = own_galaxies.plan(tmp_path)
    plan.write_text(plan.read_text().replace("region = 1.0", "region = 0.75"))
    inputs.main(flags(tmp_path, plan))
    crops.main(flags(tmp_path, plan)[:4])
    made, ids = Store(tmp_path / "output" / "mine").load_crops("whole", "train")
    assert ids.tolist() == list("abcd")
    for one in made:
        np.testing.assert_allclose(one.astype(int), made[2].astype(int), atol=60)
        assert (one[8:24, 8:24] > 150).mean() > 0.95
        assert one[:4].max() < 50


def test_the_ensemble_classifies_new_galaxies_in_the_columns_of_the_schema(classes, tmp_path):
    to = tmp_path / "answers.csv"
    ensemble = classes.store.ensemble("final").record_path.parent
    classify.main([str(classes.folder / "mine" / "test"), "--ensemble", str(ensemble), "--to", str(to)])
    made = pd.read_csv(to, dtype={"id": str}).set_index("id")
    columns = ["class_disc", "class_smooth"]
    assert list(made.columns) == [*columns, *(f"{c}_spread" for c in columns), "class", "reason", "caveat"]
    written = pd.read_csv(classes.store.submission("final").verified(), dtype={0: str}).set_index("GalaxyID")
    np.testing.assert_allclose(made.loc[written.index, columns], written[columns], atol=1e-4)
    likeliest = made[columns].to_numpy().argmax(axis=1)
    assert made["class"].tolist() == [("disc", "smooth")[i] for i in likeliest]


def test_the_competition_does_not_know_them(classes):
    with pytest.raises(UserError, match="are your own, Kaggle does not know them"):
        submit.main([*flags(classes.folder, classes.folder / "mine.toml")[:4], "--upload", "--yes"])


def packed(place: Path, kind: str) -> None:
    """images/ as an archive of that kind, or as the folder that the table's paths lead to."""
    images = place / "images"
    if kind == "paths":
        images.rename(place / "pictures")
        lines = (place / "labels.csv").read_text().splitlines()
        files = {path.stem: f"pictures/{path.name}" for path in (place / "pictures").iterdir()}
        rows = [f"{files[line.split(',')[0]]},{line.split(',')[1]}" for line in lines[1:]]
        (place / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    elif kind != "folder":
        shutil.make_archive(str(images), kind, images)
        shutil.rmtree(images)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "paths"])
def test_images_are_read_wherever_they_lie(tmp_path, kind):
    image = own_galaxies.pictures(1, 48)[0][0]
    images = [np.roll(image, i, axis=0) for i in range(4)]
    own_galaxies.write(tmp_path / "mine", images, ["a.png", "b.png", "c.png", "d.png"], "id,label", ["x", "y"] * 2)
    light = fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(np.random.default_rng(b).random((48, 48)) * 3, name=n)
                                              for b, n in enumerate("gri"))])  # fmt: skip
    light.writeto(tmp_path / "mine" / "images" / "d.fits")
    (tmp_path / "mine" / "images" / "d.png").unlink()
    packed(tmp_path / "mine", kind)
    plan = own_galaxies.plan(tmp_path)
    inputs.main(flags(tmp_path, plan))
    crops.main(flags(tmp_path, plan)[:4])
    store = Store(tmp_path / "output" / "mine")
    made, ids = store.load_crops("whole", "train")
    assert ids.tolist() == ["a", "b", "c", "d"]
    assert store.set_aside("whole", "train") == []
    expected = cv2.resize(images[1], (32, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(made[1], expected)
    assert made[3].std() > 1
    assert len(store.load_crops("whole", "test")[1]) == 0


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "paths"])
def test_a_part_of_own_galaxies_goes_on_to_its_crops_and_notices_images_that_change(tmp_path, kind):
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 255, (32, 32, 3), np.uint8) for name in names(12)}
    place = tmp_path / "mine"
    own_galaxies.write(place, list(images.values()), list(images), "id,label", ["x", "y"] * 6)
    (place / "test").mkdir()
    for name in names(4):
        (place / "test" / f"t{name}").write_bytes(own_galaxies.encoded(images[name]))
    packed(place, kind)
    plan = own_galaxies.plan(tmp_path, "galaxies = 0.5")
    inputs.main(flags(tmp_path, plan))
    for stage in (folds, crops):
        stage.main(flags(tmp_path, plan)[:4])
    store = Store(tmp_path / "output" / "mine")
    assert sorted(store.load_folds()) == [0, 0, 0, 1, 1, 1]
    for split, prefix, count in (("train", "", 6), ("test", "t", 2)):
        made, ids = store.load_crops("whole", split)
        assert len(ids) == count
        for image, galaxy in zip(made, ids.tolist(), strict=True):
            np.testing.assert_array_equal(image, images[f"{galaxy.removeprefix(prefix)}.png"])
    if kind in ("folder", "paths"):
        where = "images" if kind == "folder" else "pictures"
        (place / where / f"{store.load_folds().index[0]}.png").unlink()
        with pytest.raises(UserError, match=r"the train images in .* have changed since they were checked"):
            crops.main([*flags(tmp_path, plan)[:4], "--force", "--yes"])


@pytest.fixture(scope="module")
def dotted(tmp_path_factory, drawn) -> SimpleNamespace:
    """Two classes again, by a run and an ensemble whose names have dots."""
    folder = tmp_path_factory.mktemp("dotted")
    own_galaxies.write(folder / "mine", drawn.images[:N], names(N), "objid,class", drawn.words[:N])
    text = own_galaxies.PLAN.replace('"a"', '"a.v2"').replace('"final"', '"final.1"')
    store = whole(folder, own_galaxies.plan(folder, text=text))
    return SimpleNamespace(folder=folder, store=store, ensemble=store.root / "ensembles" / "final.1")


@pytest.mark.slow
def test_names_with_dots_go_through_every_stage_and_classify(dotted):
    board = leaderboard.read(dotted.store.report().verified("leaderboard.csv"))
    assert {"a.v2", "final.1"} <= set(board["name"])
    to = dotted.folder / "answers.csv"
    classify.main([str(dotted.folder / "mine" / "images"), "--ensemble", str(dotted.ensemble), "--to", str(to)])
    made = pd.read_csv(to, dtype={"id": str}).set_index("id")[list(dotted.store.schema().columns)]
    np.testing.assert_allclose(made.sum(axis=1), 1, atol=1e-5)
    assert made.index.tolist() == [Path(name).stem for name in sorted(names(N))]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "saved-model"])
def test_an_ensemble_of_classes_is_exported_and_answers_the_same(dotted, form):
    to = dotted.folder / form
    export.main(["--ensemble", str(dotted.ensemble), "--to", str(to), "--format", form])
    record = json.loads((to / "model.json").read_text())
    assert record["spec"]["output"]["columns"] == list(dotted.store.schema().columns)
    assert record["largest_difference"] <= 1e-4
