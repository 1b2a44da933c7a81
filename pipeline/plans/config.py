"""Training plans. One TOML file defines the crops, runs and ensembles of an output folder.

A plan is frozen and strict: an unknown key or value is an error that names its place and what is
allowed. Keys under [defaults] hold for every run that does not set them itself.
"""

import tomllib
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.plans import label_schemas
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.crops import IMAGE_SIDE, Crop
from pipeline.plans.merging import extended, with_defaults
from pipeline.plans.search_space import Search, Setting
from pipeline.plans.strict import Strict, sentence

PLANS = Path(__file__).parent
VIEW_SETS = ("single", "flips4", "dihedral8", "rotations16", "rotations32", "dihedral8-zoom3")
BASELINES = ("mean", "central-pixel", "ridge", "random-forest", "svm")
METHODS = ("best", "mean", "convex", "per-question")
POLICIES = ("none", "rand-augment", "cutout", "color-jitter")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]


class Sky(Strict):
    """Numbers of synthetic galaxies, for a plan with its own data."""

    train: int = Field(ge=10)
    test: int = Field(ge=1)


class Augment(Strict):
    """Ranges of the one random affine warp that a training image gets, and a KerasCV policy before it."""

    rotation: float = Field(180.0, ge=0, le=180)  # degrees either way
    zoom: float = Field(1.2, ge=1, le=3)  # factor, log-uniform in [1/zoom, zoom]
    shift: float = Field(0.04, ge=0, le=0.5)  # of the half side
    flip: bool = True
    policy: Literal[POLICIES] = "none"


class HeadPhase(Strict):
    """First phase: the head alone, on the frozen backbone's features, computed once.

    They are the mean over the run's views where this is all that is trained, of one view where fine-tuning follows.
    """

    epochs: int = Field(0, ge=0)
    learning_rate: Rate = 3e-4


class FineTune(Strict):
    """Second phase: the backbone from a chosen layer on, and the head, on randomly warped images."""

    epochs: int = Field(0, ge=0)
    learning_rate: Rate = 3e-4
    from_layer: str = "first"  # name of a layer of the backbone; "first": all of it
    batch_norm: Literal["inference", "train"] = "inference"
    warmup: Fraction = 0.1  # share of the steps
    ema: Fraction = 0.99  # momentum of the moving average of the weights; 0 switches it off
    patience: int = Field(0, ge=0)  # epochs without a better fold RMSE before stopping; 0: never stop early
    layer_decay: Rate = 1.0  # factor of the learning rate from a twelfth of the backbone to the one before; 1: none
    drop_path: Fraction | None = None  # chance to leave out the last residual block; None: as the backbone is built

    ADDED: ClassVar[tuple[str, ...]] = ("layer_decay", "drop_path")


class Run(Strict):
    """One model: a backbone on a crop, trained once per fold."""

    name: Name
    backbone: Literal[tuple(BACKBONES)]
    crop: Name
    input_size: int | None = Field(None, ge=32, le=IMAGE_SIDE)  # pixels the network sees; None: the whole crop
    pooling: Literal["avg", "max", "multi"] = "avg"  # "multi": statistics of every resolution, not only the last
    head: Literal["sigmoid", "tree"] = "sigmoid"
    hidden: int = Field(0, ge=0)  # units of a dense layer before the answers; 0: none
    dropout: Fraction = 0.2
    loss: Literal["mse", "bce", "votes"] = "mse"  # "votes": their likelihood along the tree; needs head = "tree"
    weight_decay: float = Field(1e-4, ge=0)
    batch_size: int = Field(32, ge=1)
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"  # float32 on CPUs
    on_missing_weights: Literal["error", "random"] = "error"
    start_from: Name | None = None  # an earlier run: a fold starts from that run's network of the same fold
    head_phase: HeadPhase = HeadPhase()
    fine_tune: FineTune = FineTune()
    augment: Augment = Augment()
    views: Literal[VIEW_SETS] = "dihedral8"

    @model_validator(mode="after")
    def _trains(self) -> "Run":
        if not self.head_phase.epochs and not self.fine_tune.epochs:
            raise ValueError("trains nothing: give head_phase.epochs or fine_tune.epochs")
        if self.loss == "votes" and self.head != "tree":
            raise ValueError('loss = "votes" is the likelihood along the tree: it needs head = "tree"')
        if self.start_from and self.head_phase.epochs:
            raise ValueError("start_from brings the other run's head along: it needs head_phase.epochs = 0")
        if self.fine_tune.drop_path is not None and BACKBONES[self.backbone].drop_path is None:
            able = ", ".join(name for name, row in BACKBONES.items() if row.drop_path is not None)
            raise ValueError(
                f"fine_tune.drop_path: {self.backbone} has no residual blocks that can be left out while training; "
                f"these have: {able}"
            )
        return self


class Ensemble(Strict):
    """A blend of runs."""

    name: Name
    runs: tuple[Name, ...] = Field(min_length=1)
    method: Literal[METHODS] = "best"


class Plan(Strict):
    """Everything that one output folder is made from."""

    name: Name
    seed: int = Field(0, ge=0)
    folds: int = Field(5, ge=2, le=50)
    corrupt_images: Literal["stop", "set-aside"] = "stop"
    on_failed_run: Literal["stop", "leave-out"] = "stop"  # a run of which a fold cannot be trained
    gpus: float = Field(1, ge=0)  # that training a fold takes of a cluster that has some
    sky: Sky | None = None
    crops: dict[Name, Crop] = Field(min_length=1)
    runs: tuple[Run, ...] = Field(min_length=1)
    ensembles: tuple[Ensemble, ...] = Field(min_length=1)
    baselines: tuple[Literal[BASELINES], ...] = BASELINES
    baseline_crop: Name | None = None  # the crop that hand-made features are measured on; None: the first
    labels: str | None = None  # what was asked: a shipped schema or a TOML file; None: the competition's, or inferred
    search: Search | None = None  # where better settings of a run are looked for
    _left_out: dict[str, str] = PrivateAttr(default_factory=dict)

    @field_validator("runs", "ensembles")
    @classmethod
    def _distinct(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [item.name for item in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is given twice; names must differ")
        return value

    @model_validator(mode="after")
    def _refer(self) -> "Plan":
        for i, run in enumerate(self.runs):
            _known(run.crop, self.crops, f"runs[{i}].crop")
            size = run.input_size or self.crops[run.crop].size
            smallest = BACKBONES[run.backbone].min_size
            if not smallest <= size <= self.crops[run.crop].size:
                raise ValueError(
                    f"@runs[{i}].input_size: {size} is not between {smallest}, the least for {run.backbone}, "
                    f"and {self.crops[run.crop].size}, the size of crop {run.crop!r}"
                )
            if run.start_from is not None:
                _starts(run, self.runs[:i], f"@runs[{i}].start_from")
        for i, ensemble in enumerate(self.ensembles):
            for j, name in enumerate(ensemble.runs):
                _known(name, [run.name for run in self.runs], f"ensembles[{i}].runs[{j}]")
        if self.baseline_crop is not None:
            _known(self.baseline_crop, self.crops, "baseline_crop")
        return self

    def for_schema(self, schema: Schema) -> "Plan":
        """The plan for labels of the schema: votes and classes are learnt by their likelihood along the tree."""
        likelihood = {"head": "tree", "loss": "votes"} if schema.trains_on_votes else {}
        return self.model_copy(update={"runs": tuple(run.model_copy(update=likelihood) for run in self.runs)})

    def run(self, name: str) -> Run:
        """The run of that name."""
        return next(run for run in self.runs if run.name == name)

    def without(self, runs: dict[str, str]) -> "Plan":
        """The plan without these runs {name: why}, and without ensembles of nothing else."""
        blends = ((e, tuple(run for run in e.runs if run not in runs)) for e in self.ensembles)
        ensembles = tuple(ensemble.model_copy(update={"runs": left}) for ensemble, left in blends if left)
        rest = self.model_copy(
            update={"runs": tuple(r for r in self.runs if r.name not in runs), "ensembles": ensembles}
        )
        rest._left_out = self._left_out | runs
        return rest

    @property
    def left_out(self) -> dict[str, str]:
        """The runs {name: why} that were left out."""
        return self._left_out

    def lineage(self, name: str) -> list[str]:
        """The run of that name and, after it, those that it starts from."""
        first = self.run(name).start_from
        return [name, *(self.lineage(first) if first else [])]

    def input_size(self, run: Run) -> int:
        """Side in pixels of what the run's network sees."""
        return run.input_size or self.crops[run.crop].size

    def crop_of_baselines(self) -> str:
        """Name of the crop that the hand-made features are measured on."""
        return self.baseline_crop or next(iter(self.crops))


def _starts(run: Run, earlier: tuple[Run, ...], where: str) -> None:
    """ValueError where the run that it starts from does not come before it, or has another network."""
    first = next((item for item in earlier if item.name == run.start_from), None)
    if first is None:
        names = ", ".join(item.name for item in earlier) or "none"
        raise ValueError(f"{where}: {run.start_from!r} is not one of the runs before it: {names}")
    for key in ("backbone", "pooling", "head", "hidden", "fine_tune.batch_norm"):
        mine, other = attrgetter(key)(run), attrgetter(key)(first)
        if mine != other:
            raise ValueError(
                f"{where}: {first.name!r} has {key} {other!r}, this run {mine!r}; the same are needed for its "
                f"weights to fit"
            )


def _known(name: str, allowed: Any, where: str) -> None:
    if name not in allowed:
        raise ValueError(f"@{where}: {name!r} is not one of {', '.join(sorted(allowed))}")


def plan_path(name: str) -> Path:
    """Path of a plan: a name under pipeline/plans/, or a path."""
    return Path(name) if name.endswith(".toml") or "/" in name else PLANS / f"{name}.toml"


def load_plan(name: str) -> Plan:
    """Read a plan: a name under pipeline/plans/ or a path to a TOML file. UserError says what is wrong where."""
    path, raw = plan_path(name), _raw(name)
    try:
        plan = Plan.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{_short(path)}: {sentence(error, _keys)}") from None
    if plan.labels is not None:
        label_schemas.load_table(plan.labels)  # so that a mistake in it is told before any work
    return plan


def _raw(name: str) -> dict[str, Any]:
    """A plan as it stands in its file, its [defaults] put into every run, over the plan that it `extends`."""
    path = plan_path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in PLANS.glob("*.toml")))
        raise UserError(f"no plan {name!r}: give one of {shipped}, or the path of a TOML file")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None
    defaults = raw.pop("defaults", {})
    if not isinstance(defaults, dict):
        raise UserError(f"{_short(path)}: defaults: {defaults!r}: expected a table of keys that hold for every run")
    if isinstance(runs := raw.get("runs"), list):
        raw["runs"] = [with_defaults(run, defaults) for run in runs]
    raw.setdefault("name", path.stem)
    if isinstance(labels := raw.get("labels"), str) and label_schemas.is_path(labels):
        raw["labels"] = str(path.parent / labels)  # beside the plan, wherever the command is given
    if (base := raw.pop("extends", None)) is None:
        return raw
    if not isinstance(base, str) or plan_path(base).resolve() == path.resolve():
        raise UserError(f"{_short(path)}: extends: {base!r}: expected the name or path of another plan")
    return extended(_raw(base), raw)


def _short(path: Path) -> Path:
    return path.relative_to(PLANS.parent) if path.is_relative_to(PLANS) else path


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that a table of the plan may have."""
    tables = {"sky": Sky, "crops": Crop, "ensembles": Ensemble, "runs": Run, "search": Search}
    inner = {"head_phase": HeadPhase, "fine_tune": FineTune, "augment": Augment}
    names = [part for part in location if isinstance(part, str)]
    model = Plan if not names else tables[names[0]]
    if names[:1] == ["runs"] and len(names) > 1:
        model = inner[names[1]]
    if names[:2] == ["search", "space"]:
        model = Setting
    return sorted(model.model_fields)
