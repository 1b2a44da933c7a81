"""Training plans. One TOML file defines the crops, runs and ensembles of an output folder.

A plan is frozen and strict: an unknown key, a value that is not allowed or of another type (a text for a number) is an
error that names the file, the place and what is allowed.

`extends = "laptop"` (the name of a shipped plan, or a path from the file's own folder) begins with another plan. One
rule tells what comes of the two files: tables are merged key by key, [[runs]] and [[ensembles]] by their names, and
where both files set a key, the extending one's holds, of a list all of it. A run, ensemble or crop of a new name is
added. Only [search.space] is replaced as a whole. Then the keys of [defaults], merged in the same way, are put into
every run of either file that does not set them itself. A plan without [[ensembles]] has one, "final", of all its runs.

The keys of a run are those of `run`, of a crop those of `crops`.
"""

from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from pipeline.core.labels import Schema
from pipeline.errors import UserError, meant
from pipeline.plans import consistency, label_schemas, layers
from pipeline.plans.crops import Crop
from pipeline.plans.run import Augment, FineTune, HeadPhase, Name, Run
from pipeline.plans.search_space import Search, Setting
from pipeline.plans.strict import Location, Strict, sentence

BASELINES = ("mean", "central-pixel", "ridge", "random-forest", "svm")
METHODS = ("best", "mean", "convex", "per-question")


class Sky(Strict):
    """Numbers of synthetic galaxies, for a plan with its own data."""

    train: int = Field(ge=10)
    test: int = Field(ge=1)


class Ensemble(Strict):
    """A blend of runs."""

    name: Name
    runs: tuple[Name, ...] = Field(min_length=1)
    method: Literal[METHODS] = "best"

    @field_validator("runs")
    @classmethod
    def _each_once(cls, runs: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(runs)) < len(runs):
            raise ValueError("a run stands in it twice; give each once")
        return runs


class Plan(Strict):
    """Everything that one output folder is made from."""

    name: Name
    seed: int = Field(0, ge=0)
    folds: int = Field(5, ge=2, le=50)
    corrupt_images: Literal["stop", "set-aside"] = "stop"
    on_failed_run: Literal["stop", "leave-out"] = "stop"  # a run of which a fold cannot be trained
    galaxies: float | None = Field(None, gt=0)  # a quick try: so many to train on and to predict, or a share; None: all
    gpus: float = Field(1, ge=0)  # that training a fold takes of a cluster that has some
    sky: Sky | None = None
    crops: dict[Name, Crop] = Field(min_length=1)
    runs: tuple[Run, ...] = Field(min_length=1)
    ensembles: tuple[Ensemble, ...] = Field(min_length=1)  # none given: "final", of all runs
    baselines: tuple[Literal[BASELINES], ...] = BASELINES
    baseline_crop: Name | None = None  # the crop that hand-made features are measured on; None: the first
    labels: str | None = None  # what was asked: a shipped schema or a TOML file; None: the competition's, or inferred
    search: Search | None = None  # where better settings of a run are looked for
    _left_out: dict[str, str] = PrivateAttr(default_factory=dict)
    _missing: tuple[str, ...] = PrivateAttr(())

    @field_validator("galaxies")
    @classmethod
    def _number_or_share(cls, value: float | None) -> float | None:
        if value is not None and value >= 1 and value != round(value):
            raise ValueError("expected a number of galaxies, such as 500, or a share below 1, such as 0.1")
        return round(value) if value is not None and value >= 1 else value

    @field_validator("runs", "ensembles")
    @classmethod
    def _distinct(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [item.name for item in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is given twice; names must differ")
        return value

    @model_validator(mode="before")
    @classmethod
    def _ensemble_of_all(cls, value: Any) -> Any:
        """A plan without ensembles has one of all its runs."""
        runs = value.get("runs") if isinstance(value, dict) and not value.get("ensembles") else None
        if not isinstance(runs, (list, tuple)) or not all(isinstance(run, dict) and "name" in run for run in runs):
            return value
        return value | {"ensembles": ({"name": "final", "runs": tuple(run["name"] for run in runs)},)}

    @model_validator(mode="after")
    def _refer(self) -> "Plan":
        for i, run in enumerate(self.runs):
            consistency.known(run.crop, self.crops, ("runs", i, "crop"))
            consistency.fits(run, self.crops[run.crop], i)
            consistency.starts(run, self.runs[:i], ("runs", i, "start_from"))
        for i, ensemble in enumerate(self.ensembles):
            for j, name in enumerate(ensemble.runs):
                consistency.known(name, [run.name for run in self.runs], ("ensembles", i, "runs", j))
        if self.baseline_crop is not None:
            consistency.known(self.baseline_crop, self.crops, ("baseline_crop",))
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

    def part(self, *, runs: list[str], ensembles: list[str], baselines: list[str], missing: list[str]) -> "Plan":
        """The plan with these of its runs, ensembles and baselines alone; `missing` says what it then lacks."""
        kept = {"runs": tuple(run for run in self.runs if run.name in runs)}
        kept |= {"ensembles": tuple(e for e in self.ensembles if e.name in ensembles), "baselines": tuple(baselines)}
        rest = self.model_copy(update=kept)
        rest._missing = tuple(missing)
        return rest

    def runs_for(self, name: str) -> list[str]:
        """The run of that name, or those of an ensemble, after those that they start from. UserError: there is none."""
        known = {run.name: (run.name,) for run in self.runs} | {one.name: one.runs for one in self.ensembles}
        if name not in known:
            names = f"{', '.join(known)}{meant(name, known)}"
            raise UserError(f"--run {name}: plan {self.name} has the runs and ensembles {names}")
        return list(dict.fromkeys(first for run in known[name] for first in reversed(self.lineage(run))))

    def with_run_alone(self, name: str | None) -> "Plan":
        """The plan where the name of a run also stands for an ensemble of that run alone."""
        if name not in [run.name for run in self.runs] or name in [ensemble.name for ensemble in self.ensembles]:
            return self
        alone = Ensemble(name=name, runs=(name,))
        return self.model_copy(update={"ensembles": (*self.ensembles, alone)})

    @property
    def missing(self) -> tuple[str, ...]:
        """What of the plan is not there yet, of a `part` of it."""
        return self._missing

    @property
    def left_out(self) -> dict[str, str]:
        """The runs {name: why} that were left out."""
        return self._left_out

    def lineage(self, name: str) -> list[str]:
        """The run of that name and, after it, those that it starts from."""
        run = self.run(name)
        return [name, *(self.lineage(run.start_from) if run.start_from and not run.starts_elsewhere else [])]

    def input_size(self, run: Run) -> int:
        """Side in pixels of what the run's network sees."""
        return run.input_size or self.crops[run.crop].size

    def crop_of_baselines(self) -> str:
        """Name of the crop that the hand-made features are measured on."""
        return self.baseline_crop or next(iter(self.crops))


def load_plan(name: str) -> Plan:
    """Read a plan: a name under pipeline/plans/ or a path to a TOML file. UserError says what is wrong where."""
    files = layers.read(name)
    whole = layers.resolved(files)
    try:
        plan = Plan.model_validate(whole)
    except ValidationError as error:
        raise UserError(sentence(error, _keys, layers.Places(files, whole), _homes)) from None
    if plan.labels is not None:
        label_schemas.load_table(plan.labels)  # so that a mistake in it is told before any work
    return plan


TABLES = {"sky": Sky, "crops": Crop, "ensembles": Ensemble, "runs": Run, "search": Search}
OF_A_RUN = {"head_phase": HeadPhase, "fine_tune": FineTune, "augment": Augment}


def _homes(key: str) -> str:
    """Where else in a plan a key may stand; empty where nowhere, or it is too common to tell what was meant."""
    homes = {"a run, or of [defaults] for all runs": Run, "a crop": Crop, "[search]": Search, "the plan itself": Plan}
    homes |= {f"{name} of a run": model for name, model in OF_A_RUN.items()}
    found = [home for home, model in homes.items() if key in model.model_fields]
    return found[0] if len(found) == 1 else ""


def _keys(location: Location) -> list[str]:
    """The keys that a table of the plan may have."""
    names = [part for part in location if isinstance(part, str)]
    model = Plan if not names else TABLES[names[0]]
    if names[:1] == ["runs"] and len(names) > 1:
        model = OF_A_RUN[names[1]]
    if names[:2] == ["search", "space"]:
        model = Setting
    return sorted([*model.model_fields, *(layers.OF_FILES if model is Plan else [])])
