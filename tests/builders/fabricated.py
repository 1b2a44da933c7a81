"""A small plan of two runs, and its units as placeholder files with valid records: a store in any state."""

from pathlib import Path

from pipeline.plans.config import Plan, load_plan
from pipeline.store import dependencies
from pipeline.store.artifacts import Store

PLAN = """
seed = 1
folds = 2
sky = { train = 24, test = 6 }
baselines = ["mean", "ridge"]
[crops.big]
region = 256
size = 64
[crops.small]
region = 128
size = 32
[[runs]]
name = "a"
backbone = "vgg16"
crop = "big"
head_phase = { epochs = 1 }
[[runs]]
name = "b"
backbone = "mobilenetv2"
crop = "small"
fine_tune = { epochs = 2 }
[[ensembles]]
name = "both"
runs = ["a", "b"]
method = "mean"
[[ensembles]]
name = "alone"
runs = ["a"]
"""


RUN_ON = """[[runs]]
name = "on"
backbone = "mobilenetv2"
crop = "big"
start_from = "b"
fine_tune = { epochs = 1 }
"""


def write_plan(folder: Path, *edits: tuple[str, str], more: str = "") -> Path:
    """The plan above as mine.toml, after (old, new) edits and with more tables at its end."""
    text = PLAN
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "mine.toml"
    path.write_text(text + more)
    return path


def plan(folder: Path, *edits: tuple[str, str], more: str = "") -> Plan:
    """The plan above, loaded."""
    return load_plan(str(write_plan(folder, *edits, more=more)))


def make(unit: dependencies.Unit, content: str = "1") -> None:
    """Files that hold `content` and the record of a unit."""
    unit.artifact.begin()
    for path in unit.artifact.files:
        path.write_text(f"{unit.label} {path.name} {content}")
    facts = {"folder": "sky"} if unit.label == "inputs" else {"set_aside": []} if unit.stage == "crops" else {}
    unit.finish(**facts)


def complete(wanted: Plan, store: Store) -> None:
    """Every unit of a plan, in the order of the stages."""
    for unit in dependencies.all_units(wanted, store):
        make(unit)


def only(wanted: Plan, store: Store, label: str) -> dependencies.Unit:
    """The unit of that label."""
    return next(unit for unit in dependencies.all_units(wanted, store) if unit.label == label)
