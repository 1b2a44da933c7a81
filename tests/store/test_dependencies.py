"""The dependency graph: which units a plan wants, in which state they are, what a change costs."""

import shutil
from fnmatch import fnmatch

import pytest

from pipeline import cli
from pipeline.commands import status
from pipeline.errors import Damaged, UserError
from pipeline.store import dependencies
from pipeline.store import unit as unit_module
from pipeline.store.artifacts import Store
from pipeline.store.records import save_json
from pipeline.store.unit import to_do
from tests.builders import fabricated, stage_outputs


@pytest.fixture
def plan(tmp_path):
    return fabricated.plan(tmp_path)


@pytest.fixture
def store(tmp_path, plan):
    """A store in which every unit is complete."""
    store = Store(tmp_path / "output" / "mine")
    fabricated.complete(plan, store)
    return store


def not_complete(plan, store) -> dict[str, str]:
    """label -> state of the units that are not complete."""
    states = {unit.label: unit.state()[0] for unit in dependencies.all_units(plan, store)}
    return {label: state for label, state in states.items() if state != "complete"}


def expected(plan, store, *patterns: str) -> set[str]:
    """The labels that match a pattern; every pattern must match one."""
    labels = [unit.label for unit in dependencies.all_units(plan, store)]
    for pattern in patterns:
        assert any(fnmatch(label, pattern) for label in labels), pattern
    return {label for label in labels if any(fnmatch(label, pattern) for pattern in patterns)}


def test_a_fabricated_store_is_complete(plan, store):
    assert not_complete(plan, store) == {}


def test_an_empty_store_misses_everything_and_says_what_it_waits_for(tmp_path, plan):
    store = Store(tmp_path / "empty")
    assert set(not_complete(plan, store).values()) == {"missing"}
    assert fabricated.only(plan, store, "runs/a/fold0").state() == (
        "missing",
        ["waits for inputs", "waits for folds", "waits for crops"],
    )


def test_every_stage_makes_something(plan, store):
    assert {unit.stage for unit in dependencies.all_units(plan, store)} == set(dependencies.STAGES)


RUN_C = '[[runs]]\nname = "c"\nbackbone = "resnet50"\ncrop = "big"\nfine_tune = { epochs = 1 }\n'
CHANGES = {
    "nothing": ((), []),
    "damaged images are set aside": ((("seed = 1", 'seed = 1\ncorrupt_images = "set-aside"'),), []),
    "seed": ((("seed = 1", "seed = 2"),), ["sky", "folds", "baselines/*", "runs/*"]),
    "galaxies of the sky": ((("train = 24", "train = 30"),), ["sky"]),
    "folds": (
        (("folds = 2", "folds = 3"),),
        ["folds", "runs/*/fold2", "predictions of */fold2", "ensembles/*", "report.html"],
    ),
    "epochs of the head of one run": ((("head_phase = { epochs = 1", "head_phase = { epochs = 3"),), ["runs/a/*"]),
    "epochs of fine-tuning of one run": ((("epochs = 2", "epochs = 3"),), ["runs/b/*"]),
    "learning rates of the layers of one run": (
        (("epochs = 2", "epochs = 2, layer_decay = 0.8"),),
        ["runs/b/*"],
    ),
    "the same, as it is anyway": ((("epochs = 2", "epochs = 2, layer_decay = 1.0"),), []),
    "backbone of one run": ((('"vgg16"', '"vgg19"'),), ["runs/a/*"]),
    "views of a head on features": (
        (('"vgg16"', '"vgg16"\nviews = "single"'),),
        ["runs/a/*", "predictions of a/*"],
    ),
    "views of a fine-tuned run": ((('"mobilenetv2"', '"mobilenetv2"\nviews = "single"'),), ["predictions of b/*"]),
    "size of one crop": ((("size = 32", "size = 48"),), ["crops/small/*"]),
    "region of the other crop": ((("region = 256", "region = 200"),), ["crops/big/*"]),
    "crop of the baselines": ((("seed = 1", 'seed = 1\nbaseline_crop = "small"'),), ["baselines/*"]),
    "method of one ensemble": ((('method = "mean"', 'method = "convex"'),), ["ensembles/both"]),
    "runs of one ensemble": ((('["a", "b"]', '["b"]'),), ["ensembles/both"]),
    "a baseline more": ((('"ridge"', '"ridge", "svm"'),), ["baselines/svm", "report.html"]),
    "a baseline less": (((', "ridge"', ""),), ["report.html"]),
    "an ensemble more": (
        (
            ('name = "alone"', 'name = "alone"\nruns = ["b"]\n[[ensembles]]\nname = "new"'),
            ('"alone"\nruns = ["b"]', '"alone"\nruns = ["a"]'),
        ),
        ["ensembles/new", "submissions/new.csv", "report.html"],
    ),
    "a run more": (
        (('[[runs]]\nname = "b"', f'{RUN_C}[[runs]]\nname = "b"'),),
        ["runs/c/*", "predictions of c/*", "insight of c", "report.html"],
    ),
}


@pytest.mark.parametrize(("edits", "patterns"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_plan_touches_exactly(tmp_path, store, edits, patterns):
    changed = fabricated.plan(tmp_path, *edits)
    assert set(not_complete(changed, store)) == expected(changed, store, *patterns)


def test_weights_that_are_given_are_another_start_for_their_backbone_alone(plan, store):
    save_json(store.weights_list(), {"mobilenetv2": {"path": "x", "bytes": 1, "sha256": "abc"}})
    assert set(not_complete(plan, store)) == expected(plan, store, "runs/b/*")
    _, why = fabricated.only(plan, store, "runs/b/fold0").state()
    assert why == ["weights: imagenet -> abc"]


MADE_ANEW = {
    "sky": ["inputs"],
    "inputs": ["folds", "crops/*", "baselines/*", "runs/*", "insight of *", "submissions/*"],
    "folds": ["baselines/*", "runs/*", "insight of *"],
    "crops/small/train": ["runs/b/*", "insight of b"],
    "crops/small/test": ["predictions of b/*"],
    "crops/big/train": ["runs/a/*", "insight of a", "baselines/*"],
    "baselines/mean": ["report.html"],
    "runs/a/fold0": ["predictions of a/fold0", "insight of a"],
    "runs/a/fold1": ["predictions of a/fold1"],
    "insight of b": ["report.html"],
    "predictions of b/fold0": ["ensembles/both", "report.html"],
    "ensembles/alone": ["submissions/alone.csv", "report.html"],
    "submissions/alone.csv": [],
}


@pytest.mark.parametrize(("label", "patterns"), MADE_ANEW.items(), ids=MADE_ANEW)
def test_what_is_made_anew_with_other_content_outdates_exactly(plan, store, label, patterns):
    fabricated.make(fabricated.only(plan, store, label), "2")
    states = not_complete(plan, store)
    assert set(states) == expected(plan, store, *patterns)
    assert set(states.values()) <= {"outdated"}


@pytest.mark.parametrize("label", MADE_ANEW)
def test_what_is_made_anew_with_the_same_content_outdates_nothing(plan, store, label):
    fabricated.make(fabricated.only(plan, store, label))
    assert not_complete(plan, store) == {}


def test_outdated_says_what_was_made_anew(plan, store):
    fabricated.make(fabricated.only(plan, store, "crops/small/test"), "2")
    assert fabricated.only(plan, store, "predictions of b/fold0").state() == ("outdated", ["crops was rebuilt"])


def test_what_lost_a_source_is_not_complete_and_says_so(plan, store):
    store.baseline("ridge").record_path.unlink()
    assert fabricated.only(plan, store, "report.html").state() == ("outdated", ["baselines/ridge is missing"])


def test_a_run_that_starts_from_another_is_made_from_its_folds(tmp_path):
    plan = fabricated.plan(tmp_path, more=fabricated.RUN_ON)
    store = Store(tmp_path / "output" / "mine")
    fabricated.complete(plan, store)
    fabricated.make(fabricated.only(plan, store, "runs/b/fold1"), "other")
    assert fabricated.only(plan, store, "runs/on/fold1").state() == ("outdated", ["runs/b/fold1 was rebuilt"])
    assert fabricated.only(plan, store, "runs/on/fold0").state() == ("complete", [])


def test_what_a_unit_is_made_from_may_be_made_in_the_same_stage(tmp_path):
    """Both runs are missing: one stage makes them, and so it does where only the first is."""
    plan = fabricated.plan(tmp_path, more=fabricated.RUN_ON)
    store = Store(tmp_path / "output" / "mine")
    fabricated.complete(plan, store)
    for run in ("b", "on"):
        for fold in (0, 1):
            store.trained(run, fold).record_path.unlink()
    assert [unit.label for unit in training(tmp_path).to_do(dependencies.train(plan, store))] == [
        "runs/b/fold0",
        "runs/b/fold1",
        "runs/on/fold0",
        "runs/on/fold1",
    ]
    with pytest.raises(UserError, match="runs/on/fold0 waits for runs/b/fold0"):
        training(tmp_path, "--run", "on").to_do(dependencies.train(plan, store))
    for fold in (0, 1):
        fabricated.make(fabricated.only(plan, store, f"runs/on/fold{fold}"))
    assert len(training(tmp_path, "--yes").to_do(dependencies.train(plan, store))) == 4


def training(tmp_path, *flags: str) -> cli.Request:
    """What the stage `train` makes of its command line."""
    flags = ("--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output"), *flags)
    return cli.parse(cli.parser("contract"), list(flags), select=("run", "fold"))


def test_the_report_does_without_insight_and_is_made_anew_once_it_is_there(plan, store):
    unit, artifact = fabricated.only(plan, store, "insight of a"), store.insight("a")
    artifact.record_path.unlink()
    fabricated.make(fabricated.only(plan, store, "report.html"))
    assert fabricated.only(plan, store, "report.html").state() == ("complete", [])
    fabricated.make(unit)
    assert fabricated.only(plan, store, "report.html").state() == ("outdated", ["insight of a is new"])


def test_changed_is_refused_naming_the_difference_and_the_command(tmp_path, store):
    changed = fabricated.plan(tmp_path, ("epochs = 2", "epochs = 5, ema = 0"))
    with pytest.raises(UserError) as error:
        to_do(dependencies.train(changed, store), store.command, force=False)
    text = str(error.value)
    assert text.startswith("runs/b/fold0 was not made by this plan: fine_tune.epochs: 2 -> 5; fine_tune.ema: 0.99 -> 0")
    assert "(and 1 more of this stage)" in text
    assert f"`./run.sh train {' '.join(store.flags)} --run b --force`" in text
    assert f"`./run.sh run {' '.join(store.flags)} --force train`" in text


def test_other_files_of_the_user_are_no_other_plan(plan, store):
    (unit,) = dependencies.inputs(plan, store, {"labels": {"bytes": 1}, "test": {"count": 0}}, synthetic=False)
    fabricated.make(unit)
    (unit,) = dependencies.inputs(plan, store, {"labels": {"bytes": 2}, "test": {"count": 1}}, synthetic=False)
    with pytest.raises(UserError) as error:
        to_do(iter([unit]), store.command, force=False)
    told = "stage 0 finds other inputs than before: the table of labels, the images to predict changed, or this is"
    assert str(error.value).startswith(f"{told} another folder. {store.command('run', '--force', 'inputs')} takes")
    (unit,) = dependencies.inputs(plan, store, {"labels": {"bytes": 2}, "schema": {"name": "x"}}, synthetic=False)
    with pytest.raises(UserError, match=r"^inputs was not made by this plan: "):
        to_do(iter([unit]), store.command, force=False)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.unlink(), "folds.csv is missing"),
        (lambda path: path.write_text(""), "folds.csv has 0 bytes, not 17"),
    ],
)
def test_damaged_is_refused_naming_the_file(plan, store, damage, sentence):
    damage(store.folds().files[0])
    with pytest.raises(UserError, match=sentence):
        to_do(dependencies.folds(plan, store), store.command, force=False)
    assert len(to_do(dependencies.folds(plan, store), store.command, force=True)) == 1


def test_force_makes_all_that_is_asked_for_and_nothing_else(tmp_path, store):
    changed = fabricated.plan(tmp_path, ("epochs = 2", "epochs = 5"))
    todo = to_do(dependencies.train(changed, store), store.command, force=True)
    assert [unit.label for unit in todo] == ["runs/a/fold0", "runs/a/fold1", "runs/b/fold0", "runs/b/fold1"]


def test_nothing_is_to_do_where_all_is_complete(plan, store):
    for makers in dependencies.STAGES.values():
        for maker in makers:
            assert to_do(maker(plan, store), store.command, force=False) == []


def test_outdated_is_to_do_without_force_and_logged(plan, store, caplog):
    caplog.set_level("INFO")
    fabricated.make(fabricated.only(plan, store, "runs/a/fold1"), "2")
    todo = to_do(dependencies.predict(plan, store), store.command, force=False)
    assert [unit.label for unit in todo] == ["predictions of a/fold1"]
    assert "predictions of a/fold1 is rebuilt: runs/a/fold1 was rebuilt" in caplog.text


def test_features_are_outdated_by_crops_and_changed_by_views(tmp_path, plan, store):
    unit = dependencies.features(plan, store, plan.run("a"))
    fabricated.make(unit)
    assert unit.state()[0] == "complete"
    changed = fabricated.plan(tmp_path, ('"vgg16"', '"vgg16"\nviews = "single"'))
    again = dependencies.features(changed, store, changed.run("a"))
    assert again.state() == ("changed", ["views: dihedral8 -> single"])
    dropout = fabricated.plan(tmp_path, ('"vgg16"', '"vgg16"\ndropout = 0.4'))
    assert dependencies.features(dropout, store, dropout.run("a")).state()[0] == "complete"
    fabricated.make(fabricated.only(plan, store, "crops/big/train"), "2")
    assert unit.state()[0] == "outdated"


def test_given_files_take_the_place_of_the_sky(plan, store):
    record = store.inputs().record()
    save_json(store.inputs().record_path, record | {"folder": "/elsewhere"})
    assert not dependencies.uses_synthetic_galaxies(plan, store)
    assert "sky" not in [unit.label for unit in dependencies.all_units(plan, store)]


def request(tmp_path) -> cli.Request:
    flags = ["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output")]
    return cli.parse(cli.parser("x"), flags)


def test_a_finished_folder_is_finished_wherever_it_is_carried(tmp_path, plan, store):
    shutil.move(store.root, tmp_path / "elsewhere")
    assert not_complete(plan, Store(tmp_path / "elsewhere")) == {}


def test_other_code_of_a_stage_is_another_specification(plan, store, monkeypatch):
    monkeypatch.setitem(unit_module.VERSIONS, "baselines", 2)
    assert set(not_complete(plan, store)) == {"baselines/mean", "baselines/ridge"}
    unit = fabricated.only(plan, store, "baselines/mean")
    assert unit.state() == ("changed", ["version of the code: None -> 2"])


def test_another_page_is_made_anew_by_itself(plan, store, monkeypatch):
    monkeypatch.setattr(dependencies, "PAGE_VERSION", dependencies.PAGE_VERSION + 1)
    assert not_complete(plan, store) == {"report.html": "outdated"}


def test_a_report_of_an_earlier_release_which_digested_the_code_of_the_page_is_of_version_1(plan, store, monkeypatch):
    artifact = store.report()
    record = artifact.record()
    made_from = record["made_from"] | {unit_module.PAGE: "ab" * 32}
    artifact.write(record | {"made_from": made_from})
    assert not_complete(plan, store) == {"report.html": "outdated"}
    monkeypatch.setattr(dependencies, "PAGE_VERSION", 1)
    assert not_complete(plan, store) == {}


def test_status_reads_every_file_where_it_is_asked_to(tmp_path, store):
    flags = ["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output")]
    path = store.trained("b", 1).files[0]
    path.write_text(path.read_text().swapcase())
    request = cli.parse(cli.parser("contract"), flags)
    assert not [line for line in status.table(request) if "corrupt" in line]
    (line,) = [line for line in status.table(request, status.Checked()) if line.startswith("    corrupt")]
    assert line.startswith(f"    corrupt   runs/b/fold1: {path} is not what was written")


def test_a_check_that_finds_something_ends_with_the_exit_code_of_an_error(tmp_path, store, capsys):
    flags = ["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output"), "--check"]
    status.main(flags)
    assert capsys.readouterr().out.endswith(" were read and compared with their sha256: all are what was written\n")
    path, record = store.trained("b", 1).files[0], store.predicted("b", 0).record_path
    path.write_text(path.read_text().swapcase())
    record.write_text("null")
    with pytest.raises(Damaged, match=r"^2 artifacts are not what was written; the table says which"):
        status.main(flags)
    assert capsys.readouterr().out.endswith("with their sha256: see above\n")
    path.write_text("cut")
    with pytest.raises(Damaged, match=r"^2 artifacts"):
        status.main(flags)


def test_status_counts_what_is_complete(tmp_path, store):
    lines = status.table(request(tmp_path))
    assert lines[0] == f"mine in {store.root}"
    assert "  train      4 of 4 complete" in lines
    assert len(lines) == 1 + len(dependencies.STAGES)


def test_status_counts_the_kept_features_in_what_a_rebuild_discards(tmp_path, store):
    fabricated.plan(tmp_path, ("size = 64", "size = 65"))
    asked = request(tmp_path)
    features = dependencies.features(asked.plan, store, asked.plan.run("a"))
    before = status.table(asked)[-1]
    stage_outputs.write(features.artifact, {"features.npy": ""}, features.spec, seconds=7200.0)
    assert "took 2 h" in status.table(asked)[-1], before


def test_status_after_one_run_of_two_knows_its_submission_and_that_the_report_is_of_a_part(tmp_path, plan, store):
    for fold in range(2):
        shutil.rmtree(store.predicted("b", fold).record_path.parent)
    for one in (store.ensemble("both"), store.submission("both")):
        one.record_path.unlink()
    alone = plan.with_run_alone("a")
    for label in ("ensembles/a", "submissions/a.csv"):
        fabricated.make(fabricated.only(alone, store, label))
    part = dependencies.existing_part(plan, store)
    fabricated.make(fabricated.only(part, store, "report.html"))
    lines = status.table(request(tmp_path))
    assert "  submit     2 of 3 complete" in lines
    assert lines[-1] == "  report     1 of 1 complete, of what exists"


def test_what_a_run_alone_waits_for_is_made_by_a_run_of_it(tmp_path, plan, store):
    """`run` of the whole plan makes no ensemble of one run."""
    flags = ["--plan", str(tmp_path / "mine.toml"), "--output", str(tmp_path / "output"), "--run", "b"]
    asked = cli.parse(cli.parser("x"), flags, select=("run",)).for_a_run()
    said = r"submissions/b.csv waits for ensembles/b, .*: `./run.sh run --plan \S+ --output \S+ --run b` makes"
    with pytest.raises(UserError, match=said):
        asked.to_do(dependencies.submit(asked.plan, store))


def test_status_lists_what_is_not_and_why(tmp_path, store):
    fabricated.plan(tmp_path, ("epochs = 2", "epochs = 5"))
    fabricated.make(fabricated.only(fabricated.plan(tmp_path), store, "runs/a/fold1"), "2")
    fabricated.plan(tmp_path, ("epochs = 2", "epochs = 5"))
    store.folds().files[0].unlink()
    store.submission("alone").record_path.unlink()
    lines = status.table(request(tmp_path))
    for line in (
        "  folds      0 of 1 complete",
        "    damaged   folds: folds.csv is missing",
        "  train      0 of 4 complete",
        "    outdated  runs/a/fold0 to fold1: folds is damaged",
        "    changed   runs/b/fold0 to fold1: fine_tune.epochs: 2 -> 5",
        "    outdated  predictions of a/fold1: runs/a/fold1 was rebuilt",
        "    missing   submissions/alone.csv",
    ):
        assert line in lines


def test_status_of_nothing_lists_everything_and_makes_nothing(tmp_path, plan):
    lines = status.table(request(tmp_path))
    assert "  inputs     0 of 2 complete" in lines
    assert "    missing   folds: waits for inputs" in lines
    assert not (tmp_path / "output").exists()
