"""A study: the trials of one run, kept in a journal that several processes write to, drawn and stopped by Optuna."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import cli, locks, space
from pipeline.config import Plan, Run
from pipeline.errors import TrainingFailed, UserError
from pipeline.trials import Judge

APART = 1000  # seeds of the search's folds are those of the plan and this more; of the comparison, twice this and on
DONE = ("COMPLETE", "PRUNED")


class Trials:
    """One study: the trials of one run, in a journal that several processes write to."""

    def __init__(self, request: cli.Request):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.plan, self.store, options = request.plan, request.store, request.options
        self.run = run_of(self.plan, options.run)
        self.search = space.check(self.plan, self.run)
        self.folder = self.store.search(self.run.name).record_path.parent
        self.wanted = options.trials
        self.until = time.time() + 3600 * options.hours if options.hours else np.inf
        self.folder.mkdir(parents=True, exist_ok=True)
        journal = optuna.storages.journal
        storage = optuna.storages.JournalStorage(journal.JournalFileBackend(str(self.folder / "journal.log")))
        self.study = optuna.create_study(
            storage=storage,
            study_name=_name(self.search, self.run),
            load_if_exists=True,
            direction="minimize",
            sampler=optuna.samplers.TPESampler(seed=self.plan.seed, n_startup_trials=8, multivariate=True),
            pruner=_pruner(self.search.pruner, self.plan.folds),
        )
        self.judge = Judge(self.plan, self.store)

    def begin(self) -> None:
        """Give up the trials that dead processes were at; ask for the run as it stands first."""
        with locks.holding(self.folder / ".ask.lock", wait=True):
            for trial in self.study.get_trials(states=[_state("RUNNING")]):
                lock = Path(self.folder / trial.user_attrs.get("lock", "none"))
                if not _held(lock):
                    self.study.tell(trial.number, state=_state("FAIL"))
            as_it_stands = {key: space.setting(self.run, key) for key in self.search.space}
            if all(tried.holds(as_it_stands[key]) for key, tried in self.search.space.items()):
                self.study.enqueue_trial(as_it_stands, skip_if_exists=True)

    def done(self) -> list:
        """Trials with a score, or stopped since they had none to hope for."""
        return self.study.get_trials(deepcopy=False, states=[_state(name) for name in DONE])

    def scored(self) -> list:
        """Trials that were scored on all folds: what Optuna calls the value of a pruned one is of a few folds."""
        return self.study.get_trials(deepcopy=False, states=[_state("COMPLETE")])

    def one(self) -> bool:
        """Make one trial; False where enough are done or under way, or the time is up."""
        lock = self.folder / f".trial-{time.time_ns()}.lock"
        with locks.holding(self.folder / ".ask.lock", wait=True):
            running = self.study.get_trials(deepcopy=False, states=[_state("RUNNING")])
            if len(self.done()) + len(running) >= self.wanted or time.time() > self.until:
                return False
            locks.acquire(lock)
            trial = self.study.ask()
            trial.set_user_attr("lock", lock.name)
        try:
            self.study.tell(trial, *self._judged(trial))
        finally:
            locks.release(lock)
        return True

    def _judged(self, trial) -> tuple[float | None, object]:
        """(RMSE, state) of a trial, told fold by fold."""
        settings = {key: _suggested(trial, key, tried) for key, tried in self.search.space.items()}
        errors: list[np.ndarray] = []
        try:
            variant = space.changed(self.run, settings)
            for fold, (_, of_fold) in enumerate(self.judge.folds(variant, self.plan.seed + APART)):
                errors.append(of_fold)
                score = float(np.sqrt(np.concatenate(errors).mean()))
                trial.report(score, fold)
                if fold + 1 < self.plan.folds and trial.should_prune():
                    return None, _state("PRUNED")
        except (TrainingFailed, ValueError) as error:  # settings that diverge, or that do not go together
            trial.set_user_attr("failed", str(error).splitlines()[0][:200])
            return None, _state("PRUNED")
        return score, _state("COMPLETE")


def run_of(plan: Plan, name: str | None) -> Run:
    names = [run.name for run in plan.runs]
    if name not in names:
        raise UserError(f"--run {name}: plan {plan.name} has the runs {', '.join(names)}")
    return plan.run(name)


def _name(search: space.Search, run: Run) -> str:
    """Trials are of one study as long as run and space are the same."""
    return json.dumps([run.model_dump(mode="json"), search.model_dump(mode="json")["space"]], sort_keys=True)


def _state(name: str):
    import optuna

    return optuna.trial.TrialState[name]


def _pruner(name: str, folds: int):
    import optuna

    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=folds)
    return optuna.pruners.MedianPruner(n_startup_trials=5) if name == "median" else optuna.pruners.NopPruner()


def _suggested(trial, key: str, tried: space.Setting):
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
        }
        | {key: t.params.get(key) for key in trials.search.space}
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
