"""Trained weights belong to the graph of the backbone that they were trained in: others answer wrongly, in silence."""

from typing import Any

from pipeline.errors import UserError
from pipeline.plans.backbones import BACKBONES
from pipeline.plans.config import Plan, Run
from pipeline.store.artifacts import Store


def require_graph(run: Run, record: dict[str, Any], what: str) -> None:
    """UserError where trained weights, by their record, are of another graph than the run's network has now."""
    then, now = (graph or "as Keras has it" for graph in (record["spec"].get("graph"), BACKBONES[run.backbone].graph))
    if then != now:
        raise UserError(
            f"{what} was trained by another version of this program, whose {run.backbone} was built {then} and not "
            f"{now}: in the network as it is now its weights answer wrongly. Make run {run.name} anew by `./run.sh "
            f"train --plan PLAN --run {run.name} --force`"
        )


def require_graphs(plan: Plan, store: Store) -> None:
    """The same of all that is trained of a plan."""
    for run in plan.runs:
        for fold in range(plan.folds):
            if record := store.trained(run.name, fold).record():
                require_graph(run, record, f"runs/{run.name}/fold{fold}")
