"""Every stage x every file of the output that it opens x {flipped, cut, empty, gone}: told, or the same result."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import UserError
from pipeline.plans.config import load_plan
from pipeline.stages import baselines, crops, ensemble, folds, inputs, insight, predict, report, submit, train
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from tests.builders import opened_files

MODULES = (inputs, folds, crops, baselines, train, predict, insight, ensemble, submit, report)
MAINS = dict(zip(dependencies.STAGES, MODULES, strict=True))


def flip(path: Path) -> None:
    """Flip a bit in the middle, or just behind it where that one is of a digit beyond a number's precision."""
    whole = path.read_bytes()
    for at in range(len(whole) // 2, len(whole)):
        data = bytearray(whole)
        data[at] ^= 1
        if path.suffix != ".json" or not same_json(data, whole):
            break
    path.write_bytes(data)


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flip": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.fixture(scope="module")
def finished(survey, tmp_path_factory):
    """The survey's output, carried through the other stages."""
    folder = tmp_path_factory.mktemp("walk")
    shutil.copytree(survey.store.root, folder / "output" / "survey")
    flags = ["--plan", survey.flags[1], "--output", str(folder / "output")]
    for stage in (baselines, insight, submit, report):
        stage.main(flags)
    return SimpleNamespace(plan=survey.flags[1], raw=survey.raw, root=folder / "output")


class Copy:
    """A copy of the finished output in which one stage has everything to do."""

    def __init__(self, finished, folder: Path, stage: str):
        self.stage, self.root = stage, folder / "survey"
        self.flags = ["--plan", finished.plan, "--output", str(folder)]
        self.flags += ["--input", str(finished.raw)] if stage == "inputs" else []
        shutil.copytree(finished.root / "survey", self.root, copy_function=os.link)
        self.store, self.plan = Store(self.root), load_plan(finished.plan)
        for unit in self.units():
            unit.artifact.record_path.unlink()

    def units(self) -> list[dependencies.Unit]:
        return [unit for make in dependencies.STAGES[self.stage] for unit in make(self.plan, self.store)]

    def own(self) -> set[Path]:
        """What the stage writes, and so opens."""
        return {path for unit in self.units() for path in unit.artifact.files}

    def tells_what_is_missing(self) -> bool:
        """Whether it is a report of a part that says so."""
        return self.stage == "report" and "What is missing:" in (self.root / "report.html").read_text(encoding="utf-8")

    def run(self) -> dict[str, dict]:
        """What the stage makes: unit -> its files and their digests."""
        with contextlib.redirect_stdout(None):
            MAINS[self.stage].main(self.flags)
        return {unit.label: unit.artifact.record()["files"] | {"history.csv": "tells seconds"} for unit in self.units()}


def walk(finished, folder: Path, stage: str, damages: list[str]) -> list[str]:
    """Run one stage with each file that it opens damaged in each way; what was wrong, a line each."""
    whole = Copy(finished, folder / "whole", stage)
    with opened_files.opened_in(whole.root) as opened:
        right = whole.run()
    names = sorted(path.relative_to(whole.root) for path in opened - whole.own())
    assert names or stage == "inputs"
    wrong = []
    for name in names:
        for damage in damages:
            place = folder / f"{name.name}-{damage}"
            copy = Copy(finished, place, stage)
            path = copy.root / name
            content = path.read_bytes()
            path.unlink()  # the finished output has the same file
            path.write_bytes(content)
            DAMAGES[damage](path)
            if said := verdict(copy, path, right, may_go=damage == "gone" and path.suffix == ".json"):
                wrong.append(f"{stage}, {damage} {name}: {said}")
            shutil.rmtree(place)
    return wrong


def verdict(copy: Copy, path: Path, right: dict[str, dict], *, may_go: bool) -> str:
    """What is wrong with how the stage deals with a damaged file; a record that `may_go` may be done without."""
    try:
        made = copy.run()
    except UserError as error:
        return "" if str(path) in str(error) and "`./run.sh" in str(error) else f"unhelpful: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    if made == right:
        return ""
    fine = path.stem in ("insight", "features", "final") or copy.tells_what_is_missing()
    return "" if may_go and fine else "another result, exit 0"


SLOW = pytest.param("train", marks=pytest.mark.slow)  # its features are mended by the way, all else is told at once


@pytest.mark.parametrize("stage", [SLOW if stage == "train" else stage for stage in dependencies.STAGES])
def test_a_flipped_bit_in_any_file_that_a_stage_opens_is_told(finished, tmp_path, stage):
    assert walk(finished, tmp_path, stage, ["flip"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "flip"])
@pytest.mark.parametrize("stage", dependencies.STAGES)
def test_damage_to_any_file_that_a_stage_opens_is_told(finished, tmp_path, stage, damage):
    assert walk(finished, tmp_path, stage, [damage]) == []
