"""Plans: what is accepted, and what is said about what is not."""

from pathlib import Path

import pydantic
import pytest

from pipeline.core import blend, views
from pipeline.errors import UserError
from pipeline.plans import config, layers
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.run import VIEW_SETS
from tests.builders import fabricated

SHIPPED = sorted(path.stem for path in layers.PLANS.glob("*.toml"))
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
    assert VIEW_SETS == views.VIEW_SETS
    assert ("best", *blend.METHODS) == config.METHODS


WRONG = {
    "a backbone that is none": (VGG, 'backbone = "resnet5"', "run a: backbone: 'resnet5' is not one of vgg16, vgg19,"),
    "views that are none": (VGG, f'{VGG}\nviews = "all"', "run a: views: 'all' is not one of single, flips4,"),
    "a method that is none": (
        '"mean"\n[[',
        '"median"\n[[',
        "ensemble both: method: 'median' is not one of best, mean,",
    ),
    "a baseline that is none": ('"ridge"', '"lasso"', "baselines[1]: 'lasso' is not one of mean, central-pixel,"),
    "a text for a number": ("folds = 2", 'folds = "two"', "folds: 'two': input should be a valid integer"),
    "a number as a text": ("folds = 2", 'folds = "3"', "folds: '3': input should be a valid integer"),
    "a number with a point": ("folds = 2", "folds = 3.0", "folds: 3.0: input should be a valid integer"),
    "a yes for a number": ("folds = 2", "folds = true", "folds: True: input should be a valid integer"),
    "a text for a rate": ("epochs = 2 }", 'epochs = 2, ema = "0.9" }', "run b: fine_tune.ema: '0.9': input should be"),
    "a number for a yes": (
        VGG,
        f"{VGG}\naugment = {{ flip = 1 }}",
        "run a: augment.flip: 1: input should be a valid bo",
    ),
    "a run without a name": ('name = "b"\n', "", "run number 2: name: missing"),
    "a fraction for a number": ("folds = 2", "folds = 2.5", "folds: 2.5: input should be a valid integer"),
    "a number for a table": ("head_phase = { epochs = 1 }", "head_phase = 1", "run a: head_phase: 1: input should be"),
    "too few folds": ("folds = 2", "folds = 1", "folds: 1: input should be greater than or equal to 2"),
    "a rate of NaN": ("epochs = 2 }", "epochs = 2, learning_rate = nan }", "run b: fine_tune.learning_rate: nan: "),
    "a run of an unknown crop": ('crop = "small"', 'crop = "tiny"', "run b: crop: 'tiny' is not one of big, small"),
    "an ensemble of an unknown run": (BOTH, 'runs = ["a", "c"]', "ensemble both: runs[1]: 'c' is not one of a, b"),
    "an ensemble of nothing": (BOTH, "runs = []", "ensemble both: runs: tuple should have at least 1 item"),
    "baselines on an unknown crop": (
        "seed = 1",
        'seed = 1\nbaseline_crop = "huge"',
        "baseline_crop: 'huge' is not one of big, small",
    ),
    "a crop too small for the backbone": (
        "region = 128\nsize = 32",
        "region = 128\nsize = 24",
        "run b: crop: 'small' has 24 pixels a side, and mobilenetv2 needs 32 at least",
    ),
    "an input larger than the crop": (
        'crop = "small"',
        'crop = "small"\ninput_size = 48',
        "run b: input_size: 48 is not between 32, the least for mobilenetv2, and 32, the size of crop 'small'",
    ),
    "a run that trains nothing": (
        "fine_tune = { epochs = 2 }",
        "",
        "run b: trains nothing: give head_phase.epochs or fine_tune.epochs",
    ),
    "the votes' likelihood without the tree": (
        "fine_tune = { epochs = 2 }",
        'fine_tune = { epochs = 2 }\nloss = "votes"',
        'run b: loss = "votes" is the likelihood along the tree: it needs head = "tree"',
    ),
    "a start from itself": (
        'crop = "small"',
        'crop = "small"\nstart_from = "b"',
        "run b: start_from: 'b' is not one of the runs before it: a",
    ),
    "a start from another backbone": (
        'crop = "small"',
        'crop = "small"\nstart_from = "a"',
        "run b: start_from: 'a' has backbone 'vgg16', this run 'mobilenetv2'; the same are needed",
    ),
    "a start with a head of its own": (
        "fine_tune = { epochs = 2 }",
        'fine_tune = { epochs = 2 }\nhead_phase = { epochs = 1 }\nstart_from = "a"',
        "run b: start_from brings the other run's head along: it needs head_phase.epochs = 0",
    ),
    "stochastic depth where there is none": (
        'name = "a"\nbackbone = "vgg16"',
        'name = "a"\nfine_tune = { drop_path = 0.1 }\nbackbone = "vgg16"',
        "run a: fine_tune.drop_path: vgg16 has no residual blocks that can be left out while training; these have: e",
    ),
    "a learning rate that grows towards the image": (
        "fine_tune = { epochs = 2 }",
        "fine_tune = { epochs = 2, layer_decay = 1.1 }",
        "run b: fine_tune.layer_decay: 1.1: input should be less than or equal to 1",
    ),
    "two runs of one name": ('name = "b"', 'name = "a"', "runs: the name 'a' is given twice; names must differ"),
    "a name with a slash": (
        'name = "b"',
        'name = "b/c"',
        "run b/c: name: 'b/c': expected up to 64 letters",
    ),
    "a name that leaves the folder": (
        'name = "b"',
        'name = ".."',
        "run ..: name: '..': expected up to 64 letters",
    ),
    "a crop's name with a slash": (
        "[crops.small]",
        '[crops."a/b"]',
        "crops.a/b: 'a/b': expected up to 64 letters",
    ),
    "a run without backbone": (VGG, "", "run a: backbone: missing"),
}


@pytest.mark.parametrize(("old", "new", "sentence"), WRONG.values(), ids=WRONG)
def test_a_sentence_says_where_and_what(tmp_path, old, new, sentence):
    assert refused(tmp_path, (old, new)).startswith(sentence)


def test_allowed_backbones_are_all_named(tmp_path):
    text = refused(tmp_path, (VGG, 'backbone = "resnet5"'))
    assert text == f"run a: backbone: 'resnet5' is not one of {', '.join(BACKBONES)}; did you mean resnet50?"


NEARLY = {
    "a key": (VGG, f"{VGG}\nhed = 'tree'", "; did you mean head?"),
    "a crop": ('crop = "small"', 'crop = "smal"', "; did you mean small?"),
    "nothing like any": (VGG, 'backbone = "zzz"', "convnextlarge"),
}


@pytest.mark.parametrize(("old", "new", "end"), NEARLY.values(), ids=NEARLY)
def test_what_was_meant_is_asked(tmp_path, old, new, end):
    assert refused(tmp_path, (old, new)).endswith(end)


def test_the_number_of_further_problems_is_told(tmp_path):
    assert refused(tmp_path, ("folds = 2", "folds = 1"), (VGG, 'backbone = "x"')).endswith("(and 1 more)")


def test_a_key_that_stands_elsewhere_is_told_where(tmp_path):
    for key, home in (
        ('on_missing_weights = "random"', "a run, or of [defaults] for all runs"),
        ("layer_decay = 0.5", "fine_tune of a run"),
        ("size = 96", "a crop"),
    ):
        name = key.split(" ")[0]
        assert refused(tmp_path, ("seed = 1", key)).startswith(f"{name}: unknown key; allowed here: baseline_crop, ")
        assert refused(tmp_path, ("seed = 1", key)).endswith(f"; it is a key of {home}")
    assert "it is a key" not in refused(tmp_path, ("seed = 1", "epochs = 3"))  # of two tables


UNKNOWN = {
    "plan": ("seed = 1", "sead = 1", "sead: unknown key; allowed here: ", config.Plan),
    "sky": ("train = 24", "trian = 24, train = 24", "sky.trian: unknown key; allowed here: ", config.Sky),
    "required": ("region = 128", "regoin = 128", "crops.small.regoin: unknown key; allowed here: ", config.Crop),
    "crop": ("region = 128", "region = 128\nsice = 1", "crops.small.sice: unknown key; allowed here: ", config.Crop),
    "run": (VGG, f"{VGG}\nbatchsize = 1", "run a: batchsize: unknown key; allowed here: ", config.Run),
    "head phase": (
        "head_phase = { epochs = 1 }",
        "head_phase = { epochs = 1, epoch = 1 }",
        "run a: head_phase.epoch: unknown key; allowed here: ",
        config.HeadPhase,
    ),
    "fine-tuning": (
        "fine_tune = { epochs = 2 }",
        "fine_tune = { epochs = 2, lr = 1e-3 }",
        "run b: fine_tune.lr: unknown key; allowed here: ",
        config.FineTune,
    ),
    "augmentation": (
        VGG,
        f"{VGG}\naugment = {{ flips = true }}",
        "run a: augment.flips: unknown key; allowed here: ",
        config.Augment,
    ),
    "ensemble": (
        BOTH,
        f"{BOTH}\nweights = [1]",
        "ensemble both: weights: unknown key; allowed here: ",
        config.Ensemble,
    ),
    "crop named like a table of a run": (
        "region = 128",
        "region = 128\nsize = 32\n[crops.augment]\nregion = 64\nflip = true",
        "crops.augment.flip: unknown key; allowed here: ",
        config.Crop,
    ),
    "defaults": (
        '[[runs]]\nname = "a"',
        '[defaults]\nbatchsize = 1\n[[runs]]\nname = "a"',
        "defaults.batchsize: unknown key; allowed here: ",
        config.Run,
    ),
}


@pytest.mark.parametrize(("old", "new", "sentence", "model"), UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_key_is_answered_with_the_keys_that_there_are(tmp_path, old, new, sentence, model):
    allowed = ", ".join(sorted([*model.model_fields, *(layers.OF_FILES if model is config.Plan else [])]))
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
    listed = f"give one of {', '.join(SHIPPED)}, or the path of a TOML file"
    assert str(error.value) == f"no plan 'dmeo': {listed}; did you mean demo?"


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(UserError, match=rf"^there is no plan {tmp_path}/x.toml$"):
        config.load_plan(f"{tmp_path}/x.toml")
    fabricated.write_plan(tmp_path)
    with pytest.raises(UserError, match=rf"^there is no plan {tmp_path}/mien.toml; did you mean mine.toml\?$"):
        config.load_plan(f"{tmp_path}/mien.toml")


@pytest.mark.parametrize("content", [b"folds = = 2", b"\xff\xfe\x00", b"[crops\n"])
def test_what_is_no_toml_is_said_with_its_place(tmp_path, content):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.toml: not a TOML file: "):
        config.load_plan(str(path))


def test_a_problem_of_a_shipped_plan_is_told_by_its_short_path(tmp_path, monkeypatch):
    monkeypatch.setattr(layers, "PLANS", tmp_path / "plans")
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "mine.toml").write_text("x = 1")
    with pytest.raises(UserError, match=r"^plans/mine\.toml: "):
        config.load_plan("mine")


def test_what_a_run_sees_follows_from_its_crop(tmp_path):
    plan = fabricated.plan(tmp_path, ('crop = "big"', 'crop = "big"\ninput_size = 48'))
    assert [plan.input_size(run) for run in plan.runs] == [48, 32]
    assert plan.crop_of_baselines() == "big"
    assert plan.run("b").backbone == "mobilenetv2"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


NEW_RUN = """extends = "mine.toml"
[defaults]
dropout = 0.4
[[runs]]
name = "b"
batch_size = 5
fine_tune = { learning_rate = 0.5 }
[[runs]]
name = "c"
backbone = "resnet50"
fine_tune = { epochs = 1 }
[[ensembles]]
name = "of c"
runs = ["c"]
[crops.small]
size = 40
[crops.new]
region = 64
size = 64
""".replace("of c", "of-c")
BASE_DEFAULTS = ('[[runs]]\nname = "a"', '[defaults]\ncrop = "small"\nbatch_size = 7\n[[runs]]\nname = "a"')


def test_one_rule_tells_what_comes_of_two_files(tmp_path):
    """Tables key by key, runs and ensembles by name, then the defaults of both for the runs of both."""
    fabricated.write_plan(tmp_path, BASE_DEFAULTS, ("batch_size = 7", "batch_size = 7\ndropout = 0.1"))
    plan = config.load_plan(str(written(tmp_path, "more", NEW_RUN)))
    assert plan.name == "more"
    assert [run.name for run in plan.runs] == ["a", "b", "c"]
    assert [run.crop for run in plan.runs] == ["big", "small", "small"]
    assert [run.batch_size for run in plan.runs] == [7, 5, 7]
    assert [run.dropout for run in plan.runs] == [0.4, 0.4, 0.4]
    assert (plan.run("b").fine_tune.epochs, plan.run("b").fine_tune.learning_rate) == (2, 0.5)
    assert [ensemble.name for ensemble in plan.ensembles] == ["both", "alone", "of-c"]
    assert {name: (crop.region, crop.size) for name, crop in plan.crops.items()} == {
        "big": (256, 64), "small": (128, 40), "new": (64, 64)
    }  # fmt: skip


def test_a_space_of_a_search_is_replaced_as_a_whole(tmp_path):
    space = (
        "[search]\nrepeats = 2\n[search.space]\ndropout = { low = 0.1, high = 0.2 }\nhidden = { choices = [1, 2] }\n"
    )
    fabricated.write_plan(tmp_path, more=space)
    own = 'extends = "mine.toml"\n[search.space]\ndropout = { choices = [0.1, 0.3] }\n'
    search = config.load_plan(str(written(tmp_path, "more", own))).search
    assert (search.repeats, list(search.space), search.space["dropout"].choices) == (2, ["dropout"], (0.1, 0.3))


def test_a_plan_to_extend_is_looked_for_beside_the_file(tmp_path, monkeypatch):
    fabricated.write_plan(tmp_path)
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    written(tmp_path, "middle", 'extends = "./mine.toml"\nfolds = 4\n')
    assert config.load_plan(str(written(tmp_path / "deep", "more", 'extends = "../middle.toml"\n'))).folds == 4


def test_the_runs_of_an_ensemble_are_those_of_the_extending_file(tmp_path):
    fabricated.write_plan(tmp_path)
    own = 'extends = "mine.toml"\n[[ensembles]]\nname = "both"\nruns = ["b"]\n'
    made = {one.name: one for one in config.load_plan(str(written(tmp_path, "more", own))).ensembles}
    base = {one.name: one for one in config.load_plan(str(tmp_path / "mine.toml")).ensembles}
    assert (base["both"].runs, made["both"].runs) == (("a", "b"), ("b",))
    assert made["both"].method == base["both"].method
    assert len(made) == len(base)


def test_a_run_stands_in_an_ensemble_but_once(tmp_path):
    told = refused(tmp_path, ('["a", "b"]', '["a", "b", "a"]'))
    assert "ensemble both: runs: a run stands in it twice; give each once" in told


def test_plans_that_extend_each_other_are_refused(tmp_path):
    written(tmp_path, "one", 'extends = "two.toml"')
    path = written(tmp_path, "two", 'extends = "one.toml"')
    with pytest.raises(UserError, match=r"one\.toml: extends: 'two\.toml': the plan would extend itself"):
        config.load_plan(str(path))
    with pytest.raises(UserError, match=r"one\.toml: extends: no plan 'nowhere': give one of"):
        config.load_plan(str(written(tmp_path, "one", 'extends = "nowhere"')))
    with pytest.raises(UserError, match=r"extends: no plan 'two': give one of .*; did you mean two\.toml\?$"):
        config.load_plan(str(written(tmp_path, "one", 'extends = "two"')))


MISTAKES = {  # what the extending file holds, what the base's [defaults] hold: the file and the place
    "its own run": ('[[runs]]\nname = "c"\nbackbone = "resnet5"\n', "", "more", "run c: backbone: 'resnet5' is not"),
    "its own change of a run of the base": ('[[runs]]\nname = "b"\ndropout = 2\n', "", "more", "run b: dropout: 2: "),
    "its own defaults": ("[defaults]\ndropout = 2\n", "", "more", "defaults.dropout: 2: input should be less than 1"),
    "the base's": ('[[runs]]\nname = "b"\nviews = "single"\n', "dropout = 2\n", "mine", "defaults.dropout: 2: "),
    "a table of the base's": ("", "augment = { zoom = 9 }\n", "mine", "defaults.augment.zoom: 9: input should"),
    "a key that the base's defaults misspell": ("", "drop = 2\n", "mine", "defaults.drop: unknown key; allowed here: "),
    "its own ensemble": ('[[ensembles]]\nname = "x"\nruns = ["q"]\n', "", "more", "ensemble x: runs[0]: 'q' is not "),
    "the base itself": ("", "[[runs]]\n", "mine", "run number 3: name: missing"),
    "a crop that its run does not fit into": ("[crops.small]\nsize = 31\n", "", "mine", "run b: crop: 'small' has 31 "),
    "what nobody says": ('[[runs]]\nname = "c"\n', "", "more", "run c: backbone: missing"),
    "defaults that are none": ("defaults = 1\n", "", "more", "defaults: 1: expected a table of keys"),
    "a name for all runs": ('[defaults]\nname = "c"\n', "", "more", "defaults.name: a name is a run's own"),
}  # fmt: skip


@pytest.mark.parametrize(("own", "defaults", "file", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_by_its_file_and_name(tmp_path, own, defaults, file, told):
    more = "" if defaults == "" else f"\n[defaults]\n{defaults}"
    fabricated.write_plan(tmp_path, more=more if defaults != "[[runs]]\n" else f'\n{defaults}backbone = "vgg16"\n')
    path = written(tmp_path, "more", f'extends = "mine.toml"\n{own}')
    with pytest.raises(UserError) as error:
        config.load_plan(str(path))
    extended = f", as {path} extends it" if file == "mine" else ""
    assert str(error.value).startswith(f"{tmp_path / file}.toml{extended}: {told}")


def test_a_mistake_in_defaults_is_one_however_many_runs_have_it(tmp_path):
    said = refused(tmp_path, ('[[runs]]\nname = "a"', '[defaults]\ndropout = 2\n[[runs]]\nname = "a"'))
    assert said == "defaults.dropout: 2: input should be less than 1"


def test_a_plan_without_ensembles_has_one_of_all_its_runs(tmp_path):
    text = fabricated.PLAN.partition("[[ensembles]]")[0]
    (final,) = config.load_plan(str(written(tmp_path, "bare", text))).ensembles
    assert (final.name, final.runs, final.method) == ("final", ("a", "b"), "best")


def test_a_plan_and_a_schema_as_windows_saves_them(tmp_path):
    """A mark of the encoding at the beginning, lines that end in CR LF, blanks and umlauts in the folder's name."""
    folder = tmp_path / "müde Kopie"
    folder.mkdir()

    def windows(name: str, text: str) -> Path:
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
        return folder / name

    windows("rings.toml", 'kind = "class"\n[[questions]]\nname = "ring"\nanswers = ["ja", "nein"]\n')
    plan = config.load_plan(str(windows("mine.toml", 'extends = "smoke"\nseed = 7\nlabels = "rings.toml"\n')))
    assert (plan.name, plan.seed, plan.labels) == ("mine", 7, str(folder / "rings.toml"))
