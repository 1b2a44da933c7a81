"""What the parts of a plan say about each other: names that must exist, sizes and networks that must fit."""

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from pipeline.plans.backbones import BACKBONES
from pipeline.plans.strict import Location, Misplaced

if TYPE_CHECKING:
    from pipeline.plans.config import Crop, Run


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
    """Misplaced where the run that it starts from does not come before it, or has another network."""
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
        raise Misplaced(where, f"{name!r} is not one of {', '.join(sorted(allowed))}")
