"""An Optuna study: the trials of one run, in a journal that several processes share."""

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
from pipeline.plans.config import Plan
from pipeline.plans.run import Run
from pipeline.plans.search_space import Setting
from pipeline.plans.strict import sentence
from pipeline.store.artifacts import Store
from pipeline.store.dependencies import Unit
from pipeline.tuning import journal, variants
from pipeline.tuning.evaluation import Evaluator

if TYPE_CHECKING:
    from optuna import Trial

SEED_OFFSET = 1000  # seed of the search's folds: the plan's plus this; of the comparison: plus twice this, and on
FINISHED = ("COMPLETE", "PRUNED")
UNCHANGED = "as it stands"  # user attribute of the trial of the run's own settings
STARTUP_TRIALS = 8  # random trials before the sampler learns from them
POLL_SECONDS = 1  # between two checks on the trials of other processes


def unit(plan: Plan, store: Store, name: str | None) -> Unit:
    """The search for one run; UserError where the plan has no such run, or its search space does not fit the run."""
    run = run_of(plan, name)
    search = variants.check_search(plan, run, store.schema())
    crops = search.space["crop"].choices if "crop" in search.space else (run.crop,)
    sources = {"inputs": store.inputs()} | {f"crops/{crop}": store.crops(crop, "train") for crop in crops}
    spec = {"run": run.model_dump(mode="json"), "search": search.model_dump(mode="json")}
    spec |= {"folds": plan.folds, "seed": plan.seed} | variants.given_weights(run, store)
    return Unit("search", f"search/{run.name}", store.search(run.name), spec, sources,
                reads={"inputs": store.inputs(), "folds": store.folds()})  # fmt: skip


class Trials:
    """One study: the trials of one run, in a journal that several processes write to."""

    def __init__(self, plan: Plan, store: Store, run: str | None, *, n_trials: int, hours: float | None = None):
        """`n_trials` trials of the run of that name, those made before included; none begins after `hours`."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.plan, self.store, self.unit = plan, store, unit(plan, store, run)
        self.run, self.search = run_of(plan, run), plan.search
        self.evaluator = Evaluator(self.plan, self.store, self.unit)
        self.folder, self.n_trials = self.evaluator.folder, n_trials
        self.deadline = time.time() + 3600 * hours if hours else np.inf
        self.folder.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            storage=journal.opened(self.folder / "journal.log"),
            study_name=_study_name(self.unit),
            load_if_exists=True,
            direction="minimize",
            pruner=_pruner(self.search.pruner, self.plan.folds),
        )

    def enqueue_unchanged(self) -> None:
        """Enqueue the unchanged run as the first trial, where it lies within the search space."""
        with self._ask_lock():
            as_it_stands = {key: variants.get_setting(self.run, key) for key in self.search.space}
            if all(tried.holds(as_it_stands[key]) for key, tried in self.search.space.items()):
                self.study.enqueue_trial(as_it_stands, user_attrs={UNCHANGED: True}, skip_if_exists=True)

    def finished(self) -> list:
        """Trials that are complete or were pruned."""
        return self.study.get_trials(deepcopy=False, states=[_state(name) for name in FINISHED])

    def completed(self) -> list:
        """Trials that were scored on all folds; the value of a pruned trial is of a few folds only."""
        return self.study.get_trials(deepcopy=False, states=[_state("COMPLETE")])

    def run_one(self) -> bool:
        """Run one trial; False where enough are finished, or the time is up.

        Waits for trials of other processes: where such a process dies, its trial is resumed here after its last fold.
        """
        while (started := self._ask()) is None:
            if len(self.finished()) >= self.n_trials or time.time() > self.deadline:
                return False
            time.sleep(POLL_SECONDS)
        trial, lock = started
        try:
            self.study.tell(trial, *self._evaluate(trial))
        finally:
            locks.release(lock)
        return True

    def _ask_lock(self):
        """Held by the one process that asks for a trial."""
        return locks.holding(self.folder / ".ask.lock", wait=True)

    def _ask(self) -> "tuple[Trial, Path] | None":
        """A new trial and the lock that is held while it runs; None where no more are to be started."""
        with self._ask_lock():
            self._requeue_abandoned()
            running = self.study.get_trials(deepcopy=False, states=[_state("RUNNING")])
            if len(self.finished()) + len(running) >= self.n_trials or time.time() > self.deadline:
                return None
            lock = self.folder / f".trial-{time.time_ns()}.lock"
            locks.acquire(lock)
            self.study.sampler = self._sampler()
            trial = self.study.ask()
            trial.set_user_attr("lock", lock.name)
            return trial, lock

    def _sampler(self):
        """The sampler of the next trial, with its own seed: else all processes would begin with the same samples."""
        import optuna

        seed = self.plan.seed + len(self.study.get_trials(deepcopy=False))
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
        )

    def _requeue_abandoned(self) -> None:
        """Fail the running trials of dead processes, and enqueue their settings again."""
        for trial in self.study.get_trials(states=[_state("RUNNING")]):
            if not _is_held(self.folder / trial.user_attrs.get("lock", "none")):
                self.study.tell(trial.number, state=_state("FAIL"))
                marks = {UNCHANGED: True} if UNCHANGED in trial.user_attrs else None
                self.study.enqueue_trial(trial.params or trial.system_attrs.get("fixed_params", {}), user_attrs=marks)

    def _evaluate(self, trial: "Trial") -> tuple[float | None, Any]:
        """(RMSE, state) of a trial, reported to the pruner fold by fold."""
        settings = {key: _suggested(trial, key, tried) for key, tried in self.search.space.items()}
        if UNCHANGED not in trial.user_attrs:
            settings = {key: variants.round_setting(value) for key, value in settings.items()}
        trial.set_user_attr("settings", settings)
        try:
            variant = variants.with_settings(self.run, settings)
            for fold, errors in enumerate(self.evaluator.errors_by_fold(variant, self.plan.seed + SEED_OFFSET)):
                score = float(np.sqrt(np.nanmean(errors)))
                trial.report(score, fold)
                if fold + 1 < self.plan.folds and trial.should_prune():
                    return None, _state("PRUNED")
        except (TrainingFailed, ValidationError) as error:  # settings that diverge, or that do not go together
            reason = sentence(error, lambda location: []) if isinstance(error, ValidationError) else str(error)
            trial.set_user_attr("failed", reason[:200])
            return None, _state("PRUNED")
        return score, _state("COMPLETE")

    def errors(self, number: int) -> np.ndarray:
        """Squared error (n,) of the galaxies of a complete trial; NaN for those that the search does not use."""
        settings = next(trial for trial in self.completed() if trial.number == number).user_attrs["settings"]
        return self.evaluator.errors(variants.with_settings(self.run, settings), self.plan.seed + SEED_OFFSET)


def run_of(plan: Plan, name: str | None) -> Run:
    names = [run.name for run in plan.runs]
    if name is None:
        raise UserError(f"--run is missing: plan {plan.name} has the runs {', '.join(names)}")
    if name not in names:
        raise UserError(f"--run {name}: plan {plan.name} has the runs {', '.join(names)}")
    return plan.run(name)


def _study_name(unit: Unit) -> str:
    """Trials are of one study as long as run, space, folds and galaxies are the same."""
    search = {key: unit.spec["search"][key] for key in ("space", "galaxies")}
    what = [search, *(unit.spec[key] for key in ("run", "folds", "seed", "weights") if key in unit.spec)]
    what.append(unit.made_from())
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


def _is_held(lock: Path) -> bool:
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
            "first": UNCHANGED in t.user_attrs,
        }
        | t.user_attrs["settings"]
        for t in trials.finished()
    ]
    return pd.DataFrame(rows)


def importance(trials: Trials) -> dict[str, float]:
    """Share of the scores' variance that each setting explains (Hutter et al. 2014, fANOVA); empty for few trials."""
    import optuna

    complete = trials.completed()
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return dict(optuna.importance.get_param_importances(trials.study, evaluator=evaluator))


def selection_bias(trials: Trials, reference: int) -> float:
    """Selection bias of the best complete trial against the trial `reference`."""
    numbers = [trial.number for trial in trials.completed()]
    errors = np.stack([trials.errors(number) for number in numbers])
    answered = np.isfinite(errors).all(axis=0)
    return stats.selection_bias(errors[:, answered], numbers.index(reference))
