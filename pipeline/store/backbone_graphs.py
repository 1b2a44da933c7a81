"""Trained weights fit only the backbone graph that they were trained in: in another, predictions are silently wrong."""

from typing import Any

from pipeline.errors import UserError
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.config import Plan
from pipeline.plans.run import Run
from pipeline.store.artifacts import Store


def require_graph(run: Run, record: dict[str, Any], what: str, store: Store) -> None:
    """UserError where trained weights of a store, by their record, have another graph than the run's network now."""
    then, now = (graph or "as Keras has it" for graph in (record["spec"].get("graph"), BACKBONES[run.backbone].graph))
    if then != now:
        raise UserError(
            f"{what} was trained by another version of this program, whose {run.backbone} was built {then} and not "
            f"{now}: in the present network its weights predict wrongly. Retrain run {run.name} by "
            f"{store.command('train', '--run', run.name, '--force')}"
        )


def require_graphs(plan: Plan, store: Store) -> None:
    """`require_graph` for every trained fold of a plan."""
    for run in plan.runs:
        for fold in range(plan.folds):
            if record := store.trained(run.name, fold).record():
                require_graph(run, record, f"runs/{run.name}/fold{fold}", store)
