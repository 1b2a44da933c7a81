"""A study: the trials of one run, kept in a journal that several processes write to, drawn and stopped by Optuna."""

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from pipeline.core import stats
from pipeline.errors import TrainingFailed, UserError
from pipeline.execution import locks
from pipeline.plans.config import Plan, Run
from pipeline.plans.search_space import Setting
from pipeline.plans.strict import sentence
from pipeline.store.artifacts import Store
from pipeline.store.dependencies import Unit
from pipeline.tuning import journal, variants
from pipeline.tuning.evaluation import Judge

if TYPE_CHECKING:
    from optuna import Trial

APART = 1000  # seeds of the search's folds are those of the plan and this more; of the comparison, twice this and on
DONE = ("COMPLETE", "PRUNED")
FIRST = "as it stands"  # marks the trial of the run's own settings
RANDOM = 8  # trials that are drawn at random before those that learn from them
LOOK = 1  # seconds between two looks at what other processes are at


def unit(plan: Plan, store: Store, name: str | None) -> Unit:
    """The search for one run; UserError where the plan has no such run, or asks for what that cannot have."""
    run = run_of(plan, name)
    search = variants.check(plan, run)
    crops = search.space["crop"].choices if "crop" in search.space else (run.crop,)
    sources = {"inputs": store.inputs()} | {f"crops/{crop}": store.crops(crop, "train") for crop in crops}
    spec = {"run": run.model_dump(mode="json"), "search": search.model_dump(mode="json")}
    spec |= {"folds": plan.folds, "seed": plan.seed} | variants.given_weights(run, store)
    return Unit("search", f"search/{run.name}", store.search(run.name), spec, sources,
                reads={"inputs": store.inputs(), "folds": store.folds()})  # fmt: skip


class Trials:
    """One study: the trials of one run, in a journal that several processes write to."""

    def __init__(self, plan: Plan, store: Store, run: str | None, *, wanted: int, hours: float | None = None):
        """`wanted` trials of the run of that name, those made before included; none begins after `hours`."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.plan, self.store, self.unit = plan, store, unit(plan, store, run)
        self.run, self.search = run_of(plan, run), plan.search
        self.judge = Judge(self.plan, self.store, self.unit)
        self.folder, self.wanted = self.judge.folder, wanted
        self.until = time.time() + 3600 * hours if hours else np.inf
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            storage=journal.opened(self.folder / "journal.log"),
            study_name=_name(self.unit),
            load_if_exists=True,
            direction="minimize",
            pruner=_pruner(self.search.pruner, self.plan.folds),
        )

    def begin(self) -> None:
        """Ask for the run as it stands first, where it lies within the space."""
        with self._asking():
            as_it_stands = {key: variants.setting(self.run, key) for key in self.search.space}
            if all(tried.holds(as_it_stands[key]) for key, tried in self.search.space.items()):
                self.study.enqueue_trial(as_it_stands, user_attrs={FIRST: True}, skip_if_exists=True)

    def done(self) -> list:
        """Trials with a score, or stopped since they had none to hope for."""
        return self.study.get_trials(deepcopy=False, states=[_state(name) for name in DONE])

    def scored(self) -> list:
        """Trials that were scored on all folds: what Optuna calls the value of a pruned one is of a few folds."""
        return self.study.get_trials(deepcopy=False, states=[_state("COMPLETE")])

    def one(self) -> bool:
        """Make one trial; False where enough are done, or the time is up.

        Waits for those that others are at: where such a process dies, its trial is made here, from its last fold on.
        """
        while (asked := self._ask()) is None:
            if len(self.done()) >= self.wanted or time.time() > self.until:
                return False
            time.sleep(LOOK)
        trial, lock = asked
        try:
            self.study.tell(trial, *self._judged(trial))
        finally:
            locks.release(lock)
        return True

    def _asking(self):
        """One process at a time asks for a trial."""
        return locks.holding(self.folder / ".ask.lock", wait=True)

    def _ask(self) -> "tuple[Trial, Path] | None":
        """A trial and the lock that is held while it is made; None where no more are to be begun."""
        with self._asking():
            self._give_up_dead()
            running = self.study.get_trials(deepcopy=False, states=[_state("RUNNING")])
            if len(self.done()) + len(running) >= self.wanted or time.time() > self.until:
                return None
            lock = self.folder / f".trial-{time.time_ns()}.lock"
            locks.acquire(lock)
            self.study.sampler = self._sampler()
            trial = self.study.ask()
            trial.set_user_attr("lock", lock.name)
            return trial, lock

    def _sampler(self):
        """Draws the next trial by a seed of its own, whichever process asks: else all would begin by the same draws."""
        import optuna

        seed = self.plan.seed + len(self.study.get_trials(deepcopy=False))
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM, multivariate=True, constant_liar=True)

    def _give_up_dead(self) -> None:
        """Fail the trials that dead processes were at, and ask for the same settings again."""
        for trial in self.study.get_trials(states=[_state("RUNNING")]):
            if not _held(self.folder / trial.user_attrs.get("lock", "none")):
                self.study.tell(trial.number, state=_state("FAIL"))
                marks = {FIRST: True} if FIRST in trial.user_attrs else None
                self.study.enqueue_trial(trial.params or trial.system_attrs.get("fixed_params", {}), user_attrs=marks)

    def _judged(self, trial: "Trial") -> tuple[float | None, Any]:
        """(RMSE, state) of a trial, told fold by fold."""
        settings = {key: _suggested(trial, key, tried) for key, tried in self.search.space.items()}
        if FIRST not in trial.user_attrs:
            settings = {key: variants.rounded(value) for key, value in settings.items()}
        trial.set_user_attr("settings", settings)
        try:
            variant = variants.changed(self.run, settings)
            for fold, errors in enumerate(self.judge.fold_by_fold(variant, self.plan.seed + APART)):
                score = float(np.sqrt(np.nanmean(errors)))
                trial.report(score, fold)
                if fold + 1 < self.plan.folds and trial.should_prune():
                    return None, _state("PRUNED")
        except (TrainingFailed, ValidationError) as error:  # settings that diverge, or that do not go together
            told = sentence(error, lambda location: []) if isinstance(error, ValidationError) else str(error)
            trial.set_user_attr("failed", told[:200])
            return None, _state("PRUNED")
        return score, _state("COMPLETE")

    def errors(self, number: int) -> np.ndarray:
        """Squared error (n,) of the galaxies of a scored trial; NaN for those that took no part."""
        settings = next(trial for trial in self.scored() if trial.number == number).user_attrs["settings"]
        return self.judge.errors(variants.changed(self.run, settings), self.plan.seed + APART)


def run_of(plan: Plan, name: str | None) -> Run:
    names = [run.name for run in plan.runs]
    if name is None:
        raise UserError(f"--run is missing: plan {plan.name} has the runs {', '.join(names)}")
    if name not in names:
        raise UserError(f"--run {name}: plan {plan.name} has the runs {', '.join(names)}")
    return plan.run(name)


def _name(made: Unit) -> str:
    """Trials are of one study as long as run, space, folds and galaxies are the same."""
    search = {key: made.spec["search"][key] for key in ("space", "galaxies")}
    what = [search, *(made.spec[key] for key in ("run", "folds", "seed", "weights") if key in made.spec)]
    what.append(made.made_from())
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def _state(name: str):
    import optuna

    return optuna.trial.TrialState[name]


def _pruner(name: str, folds: int):
    import optuna

    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=folds)
    return optuna.pruners.MedianPruner(n_startup_trials=5) if name == "median" else optuna.pruners.NopPruner()


def _suggested(trial: "Trial", key: str, tried: Setting) -> Any:
    if tried.choices:
        return trial.suggest_categorical(key, tried.choices)
    suggest = trial.suggest_int if isinstance(tried.low, int) and isinstance(tried.high, int) else trial.suggest_float
    return suggest(key, tried.low, tried.high, log=tried.log)


def _held(lock: Path) -> bool:
    """Whether a living process holds it."""
    try:
        locks.acquire(lock)
    except UserError:
        return True
    locks.release(lock)
    return False


def table(trials: Trials) -> pd.DataFrame:
    """One row a trial: number, state, rmse, seconds, and the settings."""
    rows = [
        {
            "number": t.number,
            "state": t.state.name.lower(),
            "rmse": t.value if t.state.name == "COMPLETE" else None,
            "seconds": t.duration.total_seconds(),
            "first": FIRST in t.user_attrs,
        }
        | t.user_attrs["settings"]
        for t in trials.done()
    ]
    return pd.DataFrame(rows)


def importance(trials: Trials) -> dict[str, float]:
    """Share of the scores' variance that each setting explains (Hutter et al. 2014, fANOVA); empty for few trials."""
    import optuna

    complete = trials.scored()
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(trials.study, evaluator=evaluator))


def luck(trials: Trials, reference: int) -> float:
    """By how much being chosen flatters the best of the scored trials; `reference` is the one that it is to beat."""
    numbers = [trial.number for trial in trials.scored()]
    errors = np.stack([trials.errors(number) for number in numbers])
    answered = np.isfinite(errors).all(axis=0)
    return stats.luck_of_choice(errors[:, answered], numbers.index(reference))
