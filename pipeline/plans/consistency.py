"""What the parts of a plan say about each other: names that must exist, sizes and networks that must fit."""

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pipeline.errors import meant
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.strict import Location, Misplaced

if TYPE_CHECKING:
    from pipeline.plans.crops import Crop
    from pipeline.plans.run import Run


NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
ELSEWHERE = re.compile(rf"(.*/)?[^/]+/(runs|ensembles)/{NAME}")
EXPORTED = (".onnx", ".h5", ".keras", ".pb")


def start(value: str) -> str:
    """What a run may start from: the name of a run, or the folder of one, or of an ensemble, of another output."""
    folder = value.rstrip("/")
    if re.fullmatch(NAME if "/" not in folder else ELSEWHERE, folder) and not folder.endswith(EXPORTED):
        return folder
    if folder.endswith(EXPORTED):
        raise ValueError("an exported file has no backbone by itself: give the run that it was made of, PLAN/runs/NAME")
    raise ValueError("expected an earlier run of this plan, or OUTPUT/PLAN/runs/NAME, or OUTPUT/PLAN/ensembles/NAME")


def fits(run: "Run", crop: "Crop", number: int) -> None:
    """Misplaced where the run's network sees more than its crop has, or too little for its backbone."""
    smallest = BACKBONES[run.backbone].min_size
    if crop.size < smallest:
        text = f"{run.crop!r} has {crop.size} pixels a side, and {run.backbone} needs {smallest} at least"
        raise Misplaced(("runs", number, "crop"), text)
    if run.input_size is not None and not smallest <= run.input_size <= crop.size:
        text = f"{run.input_size} is not between {smallest}, the least for {run.backbone}, and {crop.size}, the size"
        raise Misplaced(("runs", number, "input_size"), f"{text} of crop {run.crop!r}")


def starts(run: "Run", earlier: tuple["Run", ...], where: Location) -> None:
    """Misplaced where the run that it starts from does not come before it, or has another network.

    Of runs of other outputs: where they are not of the same one, whose folds the plan's follow.
    """
    if run.start_from is None:
        return
    if run.starts_elsewhere:
        outputs = {item.start_from.rsplit("/", 2)[0]: item.name for item in (*earlier, run) if item.starts_elsewhere}
        if len(outputs) > 1:
            one, other = outputs.values()
            raise Misplaced(
                where,
                f"{one!r} and {other!r} start from different outputs, and folds follow but one: use two plans",
            )
        return
    first = next((item for item in earlier if item.name == run.start_from), None)
    if first is None:
        names = ", ".join(item.name for item in earlier) or "none"
        raise Misplaced(where, f"{run.start_from!r} is not one of the runs before it: {names}")
    for key in ("backbone", "pooling", "head", "hidden", "fine_tune.batch_norm"):
        mine, other = attrgetter(key)(run), attrgetter(key)(first)
        if mine != other:
            text = f"{first.name!r} has {key} {other!r}, this run {mine!r}; the same are needed for its weights to fit"
            raise Misplaced(where, text)


def known(name: str, allowed: Any, where: Location) -> None:
    """Misplaced where a name is not one of the allowed ones."""
    if name not in allowed:
        raise Misplaced(where, f"{name!r} is not one of {', '.join(sorted(allowed))}{meant(name, allowed)}")
