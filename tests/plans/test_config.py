"""Plans: what is accepted, and what is said about what is not."""

from pathlib import Path

import pydantic
import pytest

from pipeline.core import blend, views
from pipeline.errors import UserError
from pipeline.plans import config
from pipeline.plans.backbones import BACKBONES
from tests.builders import fabricated

SHIPPED = sorted(path.stem for path in config.PLANS.glob("*.toml"))
VGG = 'backbone = "vgg16"'
BOTH = 'runs = ["a", "b"]'


def refused(folder: Path, *edits: tuple[str, str], more: str = "") -> str:
    """What is said about the plan after these edits, without the path at its beginning."""
    path = fabricated.write_plan(folder, *edits, more=more)
    with pytest.raises(UserError) as error:
        config.load_plan(str(path))
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_plans_load_under_their_own_name(name):
    plan = config.load_plan(name)
    assert plan.name == name
    assert {run for ensemble in plan.ensembles for run in ensemble.runs} <= {run.name for run in plan.runs}


def test_the_four_plans_of_the_readme_are_shipped():
    assert {"demo", "smoke", "laptop", "competition"} <= set(SHIPPED)


def test_plans_are_frozen():
    plan = config.load_plan("smoke")
    for part, key in ((plan, "seed"), (plan.runs[0], "batch_size"), (plan.runs[0].head_phase, "epochs")):
        with pytest.raises(pydantic.ValidationError, match="frozen"):
            setattr(part, key, 1)


def test_keys_that_came_after_the_first_records_are_dumped_only_where_they_are_set():
    earlier = {"epochs": 0, "learning_rate": 3e-4, "from_layer": "first", "batch_norm": "inference", "warmup": 0.1}
    earlier |= {"ema": 0.99, "patience": 0}
    assert config.FineTune().model_dump(mode="json") == earlier
    assert config.FineTune(layer_decay=1, drop_path=None).model_dump_json() == config.FineTune().model_dump_json()
    later = config.FineTune(layer_decay=0.8, drop_path=0.0)
    assert later.model_dump(mode="json") == earlier | {"layer_decay": 0.8, "drop_path": 0.0}
    assert config.FineTune.model_validate(later.model_dump()) == later
    run = config.Run(name="a", backbone="efficientnetb0", crop="c", fine_tune={"epochs": 1, "drop_path": 0.1})
    assert run.model_dump()["fine_tune"] == earlier | {"epochs": 1, "drop_path": 0.1}
    assert config.Run.model_validate(run.model_dump()) == run


def test_view_sets_and_methods_are_those_of_core():
    assert config.VIEW_SETS == views.VIEW_SETS
    assert ("best", *blend.METHODS) == config.METHODS


WRONG = {
    "a backbone that is none": (VGG, 'backbone = "resnet5"', "runs[0].backbone: 'resnet5' is not one of vgg16, vgg19,"),
    "views that are none": (VGG, f'{VGG}\nviews = "all"', "runs[0].views: 'all' is not one of single, flips4,"),
    "a method that is none": ('"mean"\n[[', '"median"\n[[', "ensembles[0].method: 'median' is not one of best, mean,"),
    "a baseline that is none": ('"ridge"', '"lasso"', "baselines[1]: 'lasso' is not one of mean, central-pixel,"),
    "a text for a number": ("folds = 2", 'folds = "two"', "folds: 'two': input should be a valid integer"),
    "a fraction for a number": ("folds = 2", "folds = 2.5", "folds: 2.5: input should be a valid integer"),
    "a number for a table": ("head_phase = { epochs = 1 }", "head_phase = 1", "runs[0].head_phase: 1: input should be"),
    "too few folds": ("folds = 2", "folds = 1", "folds: 1: input should be greater than or equal to 2"),
    "a rate of NaN": ("epochs = 2 }", "epochs = 2, learning_rate = nan }", "runs[1].fine_tune.learning_rate: nan: "),
    "a run of an unknown crop": ('crop = "small"', 'crop = "tiny"', "runs[1].crop: 'tiny' is not one of big, small"),
    "an ensemble of an unknown run": (BOTH, 'runs = ["a", "c"]', "ensembles[0].runs[1]: 'c' is not one of a, b"),
    "an ensemble of nothing": (BOTH, "runs = []", "ensembles[0].runs: tuple should have at least 1 item"),
    "baselines on an unknown crop": (
        "seed = 1",
        'seed = 1\nbaseline_crop = "huge"',
        "baseline_crop: 'huge' is not one of big, small",
    ),
    "a crop too small for the backbone": (
        "region = 128\nsize = 32",
        "region = 128\nsize = 24",
        "runs[1].input_size: 24 is not between 32, the least for mobilenetv2, and 24, the size of crop 'small'",
    ),
    "an input larger than the crop": (
        'crop = "small"',
        'crop = "small"\ninput_size = 48',
        "runs[1].input_size: 48 is not between 32, the least for mobilenetv2, and 32, the size of crop 'small'",
    ),
    "a run that trains nothing": (
        "fine_tune = { epochs = 2 }",
        "",
        "runs[1]: trains nothing: give head_phase.epochs or fine_tune.epochs",
    ),
    "the votes' likelihood without the tree": (
        "fine_tune = { epochs = 2 }",
        'fine_tune = { epochs = 2 }\nloss = "votes"',
        'runs[1]: loss = "votes" is the likelihood along the tree: it needs head = "tree"',
    ),
    "a start from itself": (
        'crop = "small"',
        'crop = "small"\nstart_from = "b"',
        "runs[1].start_from: 'b' is not one of the runs before it: a",
    ),
    "a start from another backbone": (
        'crop = "small"',
        'crop = "small"\nstart_from = "a"',
        "runs[1].start_from: 'a' has backbone 'vgg16', this run 'mobilenetv2'; the same are needed",
    ),
    "a start with a head of its own": (
        "fine_tune = { epochs = 2 }",
        'fine_tune = { epochs = 2 }\nhead_phase = { epochs = 1 }\nstart_from = "a"',
        "runs[1]: start_from brings the other run's head along: it needs head_phase.epochs = 0",
    ),
    "stochastic depth where there is none": (
        'name = "a"\nbackbone = "vgg16"',
        'name = "a"\nfine_tune = { drop_path = 0.1 }\nbackbone = "vgg16"',
        "runs[0]: fine_tune.drop_path: vgg16 has no residual blocks that can be left out while training; these have: e",
    ),
    "a learning rate that grows towards the image": (
        "fine_tune = { epochs = 2 }",
        "fine_tune = { epochs = 2, layer_decay = 1.1 }",
        "runs[1].fine_tune.layer_decay: 1.1: input should be less than or equal to 1",
    ),
    "two runs of one name": ('name = "b"', 'name = "a"', "runs: the name 'a' is given twice; names must differ"),
    "a name with a slash": ('name = "b"', 'name = "b/c"', "runs[1].name: 'b/c': string should match pattern"),
    "a name that leaves the folder": ('name = "b"', 'name = ".."', "runs[1].name: '..': string should match pattern"),
    "a crop's name with a slash": ("[crops.small]", '[crops."a/b"]', "crops.a/b: 'a/b': string should match pattern"),
    "a run without backbone": (VGG, "", "runs[0].backbone: missing"),
}


@pytest.mark.parametrize(("old", "new", "sentence"), WRONG.values(), ids=WRONG)
def test_a_sentence_says_where_and_what(tmp_path, old, new, sentence):
    assert refused(tmp_path, (old, new)).startswith(sentence)


def test_allowed_backbones_are_all_named(tmp_path):
    text = refused(tmp_path, (VGG, 'backbone = "resnet5"'))
    assert text == f"runs[0].backbone: 'resnet5' is not one of {', '.join(BACKBONES)}"


def test_the_number_of_further_problems_is_told(tmp_path):
    assert refused(tmp_path, ("folds = 2", "folds = 1"), (VGG, 'backbone = "x"')).endswith("(and 1 more)")


UNKNOWN = {
    "plan": ("seed = 1", "sead = 1", "sead: unknown key; allowed here: ", config.Plan),
    "sky": ("train = 24", "trian = 24, train = 24", "sky.trian: unknown key; allowed here: ", config.Sky),
    "crop": ("region = 128", "region = 128\nsice = 1", "crops.small.sice: unknown key; allowed here: ", config.Crop),
    "run": (VGG, f"{VGG}\nbatchsize = 1", "runs[0].batchsize: unknown key; allowed here: ", config.Run),
    "head phase": (
        "head_phase = { epochs = 1 }",
        "head_phase = { epochs = 1, epoch = 1 }",
        "runs[0].head_phase.epoch: unknown key; allowed here: ",
        config.HeadPhase,
    ),
    "fine-tuning": (
        "fine_tune = { epochs = 2 }",
        "fine_tune = { epochs = 2, lr = 1e-3 }",
        "runs[1].fine_tune.lr: unknown key; allowed here: ",
        config.FineTune,
    ),
    "augmentation": (
        VGG,
        f"{VGG}\naugment = {{ flips = true }}",
        "runs[0].augment.flips: unknown key; allowed here: ",
        config.Augment,
    ),
    "ensemble": (BOTH, f"{BOTH}\nweights = [1]", "ensembles[0].weights: unknown key; allowed here: ", config.Ensemble),
    "crop named like a table of a run": (
        "region = 128",
        "region = 128\nsize = 32\n[crops.augment]\nregion = 64\nflip = true",
        "crops.augment.flip: unknown key; allowed here: ",
        config.Crop,
    ),
    "defaults": (
        '[[runs]]\nname = "a"',
        '[defaults]\nbatchsize = 1\n[[runs]]\nname = "a"',
        "runs[0].batchsize: unknown key; allowed here: ",
        config.Run,
    ),
}


@pytest.mark.parametrize(("old", "new", "sentence", "model"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_key_is_answered_with_the_keys_that_there_are(tmp_path, old, new, sentence, model):
    allowed = ", ".join(sorted(model.model_fields))
    assert refused(tmp_path, (old, new)).startswith(sentence + allowed)


def test_defaults_hold_table_by_table_and_the_run_wins(tmp_path):
    defaults = """[defaults]
batch_size = 8
dropout = 0.5
fine_tune = { epochs = 9, learning_rate = 0.01, ema = 0 }
[[runs]]
name = "a"
dropout = 0.1"""
    plan = fabricated.plan(tmp_path, ('[[runs]]\nname = "a"', defaults))
    a, b = plan.runs
    assert (a.batch_size, b.batch_size, a.dropout, b.dropout) == (8, 8, 0.1, 0.5)
    assert (a.fine_tune.epochs, b.fine_tune.epochs) == (9, 2)
    assert (b.fine_tune.learning_rate, b.fine_tune.ema) == (0.01, 0)
    assert b.fine_tune.warmup == config.FineTune().warmup
    assert (a.head_phase.epochs, b.head_phase.epochs) == (1, 0)


def test_defaults_that_are_no_table_are_refused(tmp_path):
    assert refused(tmp_path, ("seed = 1", "seed = 1\ndefaults = 3")).startswith("defaults: 3: expected a table")


def test_a_missing_plan_lists_the_shipped_ones():
    with pytest.raises(UserError) as error:
        config.load_plan("dmeo")
    assert str(error.value) == f"no plan 'dmeo': give one of {', '.join(SHIPPED)}, or the path of a TOML file"


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(UserError, match=rf"no plan '{tmp_path}/x.toml': give one of"):
        config.load_plan(f"{tmp_path}/x.toml")


@pytest.mark.parametrize("content", [b"folds = = 2", b"\xff\xfe\x00", b"[crops\n"])
def test_what_is_no_toml_is_said_with_its_place(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.toml: not a TOML file: "):
        config.load_plan(str(path))


def test_a_problem_of_a_shipped_plan_is_told_by_its_short_path(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "PLANS", tmp_path / "plans")
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "mine.toml").write_text("x = 1")
    with pytest.raises(UserError, match=r"^plans/mine\.toml: "):
        config.load_plan("mine")


def test_what_a_run_sees_follows_from_its_crop(tmp_path):
    plan = fabricated.plan(tmp_path, ('crop = "big"', 'crop = "big"\ninput_size = 48'))
    assert [plan.input_size(run) for run in plan.runs] == [48, 32]
    assert plan.crop_of_baselines() == "big"
    assert plan.run("b").backbone == "mobilenetv2"
