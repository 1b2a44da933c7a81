"""Runs that start from a run of another output: its backbone fold by fold, and no galaxy scored by who has seen it."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline import cli
from pipeline.commands import label_efficiency, status
from pipeline.commands.label_efficiency import networks
from pipeline.commands.label_efficiency import setting as settings
from pipeline.errors import Damaged, UserError
from pipeline.labelled import known_galaxies
from pipeline.plans.config import load_plan
from pipeline.stages import crops, folds, inputs, predict, train
from pipeline.store import network_caveats, starting_run
from pipeline.store.artifacts import ID, Store
from pipeline.store.fractions import load_fractions
from tests.builders import competition_files

PLAN = """
seed = 3
folds = 2
baselines = ["mean"]
[crops.wide]
region = 1.0
size = 48
[defaults]
backbone = "mobilenetv2"
crop = "wide"
input_size = 32
batch_size = 8
views = "flips4"
start_from = "{start}"
[[runs]]
name = "head"
head_phase = {{ epochs = 1 }}
[[runs]]
name = "tuned"
head_phase = {{ epochs = 1 }}
fine_tune = {{ epochs = 1, layer_decay = 0.5, learning_rate = 1e-4 }}
"""
BY_ID, BY_IMAGE, NEW = 8, 8, 8


def flags(folder: Path, **given: str) -> list[str]:
    (folder / "few.toml").write_text(PLAN.format(**({"start": "survey/runs/fine"} | given)))
    return ["--plan", str(folder / "few.toml"), "--output", str(folder / "output")]


@pytest.fixture(scope="module")
def few(survey, tmp_path_factory):
    """24 galaxies of another schema: 8 of the survey, 8 of its images under other ids, 8 that it has not; trained."""
    folder = tmp_path_factory.mktemp("few")
    shutil.copytree(survey.store.root, folder / "output" / "survey")
    known = sorted(survey.store.load_labels().index)
    images = {str(i): survey.images[i] for i in known[:BY_ID]}
    copied = {f"mine-{k}": known[BY_ID + k] for k in range(BY_IMAGE)}
    images |= {name: survey.images[i] for name, i in copied.items()}
    new = competition_files.galaxy
    images |= {f"new-{k}": competition_files.jpeg(new(9_000 + k)) for k in range(NEW)}
    (folder / "raw" / "images").mkdir(parents=True)
    for name, data in images.items():
        (folder / "raw" / "images" / f"{name}.jpg").write_bytes(data)
    rows = [f"{name},{'ring' if k % 2 else 'no ring'}" for k, name in enumerate(images)]
    (folder / "raw" / "labels.csv").write_text("\n".join(["id,label", *rows]) + "\n")
    inputs.main([*flags(folder), "--input", str(folder / "raw")])
    for stage in (folds, crops, train, predict):
        stage.main(flags(folder))
    there = survey.store.load_folds()
    expected = {str(i): there[i] for i in known[:BY_ID]} | {name: there[i] for name, i in copied.items()}
    store = Store(folder / "output" / "few")
    plan = load_plan(str(folder / "few.toml")).for_schema(store.schema())
    return SimpleNamespace(folder=folder, store=store, plan=plan, expected=expected, raw=folder / "raw")


def test_known_galaxies_keep_the_fold_they_were_held_out_in_and_others_are_spread(few):
    fold = few.store.load_folds()
    assert {galaxy: fold[galaxy] for galaxy in few.expected} == few.expected
    assert set(fold[[f"new-{k}" for k in range(NEW)]]) == {0, 1}
    known = known_galaxies.of_plan(few.plan, few.store)
    assert (len(known.fold), known.by_image, known.trained_on) == (BY_ID + BY_IMAGE, BY_IMAGE, 30)
    assert known.untold[0].startswith("8 of 24 galaxies are not known to survey/runs/fine by id or image")


def test_a_fold_starts_from_the_other_runs_network_of_the_same_fold(few):
    from pipeline.models.starting_backbone import StartingBackbone

    (start,) = starting_run.of_plan(few.plan, few.store)
    starting = StartingBackbone(start, 2)
    expected = [starting.weights(few.plan.run("head"), fold) for fold in (0, 1)]
    assert any((a != b).any() for a, b in zip(*expected, strict=True))  # or nothing would be told below
    from pipeline.nn import network

    built = network.build(few.plan.run("head"), few.store.schema(), stored=48, size=32, seed=0, trained_as="float32")
    for fold in (0, 1):
        built.model.load_weights(few.store.trained("head", fold).verified("model.weights.h5"))
        for mine, its in zip(built.backbone.get_weights(), expected[fold], strict=True):
            np.testing.assert_array_equal(mine, its)


def test_few_labels_are_learnt_on_features_of_the_fold_that_held_out_who_is_scored(few):
    from pipeline.core import views
    from pipeline.models.starting_backbone import StartingBackbone
    from pipeline.nn import network, predict

    request = cli.parse(label_efficiency.arguments(), [*flags(few.folder), "--fold", "1"], select=("run", "fold"))
    setting = settings.of_request(request, (4, 8), 1, tuned=False)
    run = setting.starts()["galaxies"]
    found = networks._features(setting, "galaxies", run, fresh=False)
    weights = StartingBackbone(setting.start, 2).weights(run, 1)
    built = network.build(run, few.store.schema(), stored=48, size=32, seed=0, trained_as="float32")
    built.backbone.set_weights(weights)
    images = few.store.load_crops("wide", "train")[0]
    expected = predict.predict_views(built.for_prediction().features, images, views.view_set(run.views), 64)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    unit = networks.features_unit(setting, "galaxies", run)
    assert unit.artifact.required()["made_from"]["survey/runs/fine/fold1"] == setting.start.trained(1).digest()


def test_the_starting_network_is_in_the_record_and_its_caveats_come_along(few):
    record = few.store.trained("tuned", 1).required()
    start = Store(few.folder / "output" / "survey").trained("fine", 1)
    assert record["spec"]["start_from"] == "survey/runs/fine"
    assert record["made_from"]["survey/runs/fine/fold1"] == start.digest()
    assert record["weights"]["start_from"] == "survey/runs/fine"
    assert record["start"]["known"] == BY_ID + BY_IMAGE
    told = list(network_caveats.seen_by_what_they_start_from({"tuned": [record]}))
    assert told == [f"{sentence}." for sentence in record["start"]["untold"]]
    for fold in (0, 1):
        valid = load_fractions(few.store.predicted("head", fold).verified("valid.parquet"), few.store.schema())
        assert set(valid.index) == set(few.store.load_folds().index[few.store.load_folds() == fold])


@pytest.fixture
def copied(few, tmp_path):
    """The same outputs elsewhere, to be changed."""
    shutil.copytree(few.folder / "output", tmp_path / "output")
    return SimpleNamespace(
        folder=tmp_path, store=Store(tmp_path / "output" / "few"), other=Store(tmp_path / "output" / "survey")
    )


def test_galaxies_that_a_starting_run_of_a_part_was_not_trained_on_are_not_known(few, monkeypatch):
    load = Store.load_folds
    there = sorted(load(Store(few.folder / "output" / "survey")).index)
    left_out = [there[0], there[BY_ID + BY_IMAGE - 1]]  # known by its id, and by the image of the last of mine-…

    def of_a_part(store: Store):
        return load(store).drop(left_out) if store.root.name == "survey" else load(store)

    monkeypatch.setattr(Store, "load_folds", of_a_part)
    known = known_galaxies.of_plan(few.plan, few.store)
    assert set(few.expected) - set(known.fold.index) == {str(there[0]), f"mine-{BY_IMAGE - 1}"}
    assert (len(known.fold), known.by_image, known.trained_on) == (BY_ID + BY_IMAGE - 2, BY_IMAGE - 1, 28)


def test_a_run_that_trained_its_head_alone_brings_nothing_of_galaxies_along(copied):
    for run, expected in (("head", True), ("fine", False)):
        plan = load_plan(flags(copied.folder, start=f"survey/runs/{run}")[1])
        told = [sentence for sentence in known_galaxies.of_plan(plan, copied.store).untold if "head alone" in sentence]
        assert bool(told) == expected


@pytest.mark.parametrize("who", ["0", "mine-3"], ids=["by id", "by image"])
def test_a_planted_leak_is_caught_before_anything_is_trained(few, copied, who):
    galaxy = who if who != "0" else next(iter(few.expected))
    fold = copied.store.load_folds()
    fold[galaxy] = 1 - fold[galaxy]  # now it is scored by a network whose backbone was trained on its votes
    unit = next(iter(train.dependencies.folds(few.plan, copied.store)))
    fold.rename_axis(ID).to_csv(unit.artifact.files[0])
    unit.finish()
    before = copied.store.trained("tuned", 0).record()
    with pytest.raises(UserError, match=rf"1 galaxies would be scored by networks .* GalaxyID {galaxy}: .* in survey"):
        train.main([*flags(copied.folder), "--force", "--yes"])
    assert copied.store.trained("tuned", 0).record() == before
    with pytest.raises(UserError, match="would be scored by networks"):
        label_efficiency.main([*flags(copied.folder), "--sizes", "4,8"])


def test_a_moved_output_counts_as_the_same(copied, capsys):
    status.main(flags(copied.folder))
    assert "train      4 of 4 complete" in capsys.readouterr().out


def test_a_starting_run_that_is_damaged_missing_or_outdated_is_said_to_be(copied, capsys):
    weights = copied.other.trained("fine", 0).files[0]
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Damaged, match=r"fine/fold0/model.weights.h5 is not what was written.*restore .*runs/fine"):
        inputs.main(flags(copied.folder))
    weights.write_bytes(data)
    unit_of_folds = copied.other.folds()
    record = unit_of_folds.required()
    fold = copied.other.load_folds()
    (1 - fold).rename_axis(ID).to_csv(unit_of_folds.files[0])
    unit_of_folds.finish(record["spec"], record["made_from"])
    with pytest.raises(UserError, match=r"survey/runs/fine/fold0 is outdated: the folds of .* have changed"):
        inputs.main(flags(copied.folder))
    shutil.rmtree(copied.other.root)
    status.main(flags(copied.folder))
    assert "survey/runs/fine/fold0 is missing" in capsys.readouterr().out
    with pytest.raises(UserError, match="there is no output"):
        inputs.main(flags(copied.folder))


MISTAKES = {
    "another backbone": ('"mobilenetv2"', '"vgg16"', "has the backbone vgg16 and starts from survey/runs/fine, which"),
    "trained normalisation": (
        "epochs = 1, layer_decay",
        'epochs = 1, batch_norm = "train", layer_decay',
        "has fine_tune.batch_norm 'train' .* which has 'inference'",
    ),
    "another number of folds": ("folds = 2", "folds = 3", "the plan has 3 folds, and survey/runs/fine, .* folds = 2"),
    "no such run": ("runs/fine", "runs/fien", "no trained fold of a run fien; trained runs there: fine, head"),
    "several runs": ("runs/fine", "ensembles/final", "made of 2 runs: say which, one of survey/runs/head, survey/runs"),
    "no such ensemble": ("runs/fine", "ensembles/other", "there is no ensemble"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_a_run_cannot_start_from_is_said_before_any_work(few, name, tmp_path):
    old, new, expected = MISTAKES[name]
    plan = tmp_path / "few.toml"
    text = PLAN.format(start="survey/runs/fine")
    assert old in text
    plan.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=expected):
        inputs.main(["--plan", str(plan), "--output", str(few.folder / "output"), "--input", str(few.raw)])


def test_what_differs_and_fits_is_remarked(few):
    (start,) = starting_run.of_plan(few.plan, few.store)
    run, crop = few.plan.run("head"), few.plan.crops["wide"]
    assert list(starting_run.remarks(run, crop, 32, start)) == []
    finer = crop.model_copy(update={"region": 0.5})
    half = run.model_copy(update={"precision": "mixed_bfloat16"})
    told = list(starting_run.remarks(half, finer, 40, start))
    assert told[0] == "run head sees 40 pixels, survey/runs/fine saw 32"
    assert told[1].startswith("a galaxy is 2 times as large in the crops of run head")
    assert told[2].endswith("which was trained in float32")


def test_what_the_starting_run_started_from_itself_is_followed_too(few, copied):
    """A third plan starts from `few`, which started from `survey`: galaxies of the survey alone are known as well."""
    third = Store(copied.folder / "output" / "third")
    plan = load_plan(flags(copied.folder, start="few/runs/tuned")[1]).model_copy(update={"name": "third"})
    shutil.copytree(few.store.root, third.root)
    record = copied.store.trained("tuned", 0).record()
    record["weights"]["start_folder"] = str(copied.other.root / "runs" / "fine")
    copied.store.trained("tuned", 0).write(record)
    known = known_galaxies.of_plan(plan, third)
    assert known.names == ("few", "survey")
    assert known.trained_on == 24 + 30
    shutil.rmtree(copied.other.root)
    assert "survey/runs/fine, which is not there" in " ".join(known_galaxies.of_plan(plan, third).untold)


def test_paths_that_are_no_run_are_refused_in_the_plan(tmp_path):
    for start, said in {
        "model/model.onnx": "an exported file has no backbone",
        "a/b/c": "expected an earlier run",
    }.items():
        (tmp_path / "few.toml").write_text(PLAN.format(start=start))
        with pytest.raises(UserError, match=said):
            load_plan(str(tmp_path / "few.toml"))
    more = '[[runs]]\nname = "other"\nstart_from = "laptop/runs/a"\nhead_phase = { epochs = 1 }\n'
    (tmp_path / "few.toml").write_text(PLAN.format(start="survey/runs/fine") + more)
    with pytest.raises(UserError, match="start from different outputs"):
        load_plan(str(tmp_path / "few.toml"))
