"""A run with some of its settings changed."""

from typing import Any

from pydantic import ValidationError

from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.plans.config import Plan
from pipeline.plans.run import Run
from pipeline.plans.search_space import Search
from pipeline.plans.strict import named, sentence
from pipeline.store.artifacts import Store


def get_setting(run: Run, key: str) -> Any:
    """The value of a setting: get_setting(run, "head_phase.epochs")."""
    for part in key.split("."):
        run = getattr(run, part)
    return run


def round_setting(value: Any) -> Any:
    """A sampled number to three digits, so that a plan can state exactly what was tried."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def with_settings(run: Run, settings: dict[str, Any]) -> Run:
    """The run with these settings changed; ValidationError where they are invalid."""
    raw = run.model_dump()
    for key, value in settings.items():
        table, _, inner = key.rpartition(".")
        (raw[table] if table else raw)[inner] = value
    return type(run).model_validate(raw)


def given_weights(run: Run, store: Store) -> dict[str, str]:
    """{"weights": sha256} of the file that was given for the run's backbone; empty where none was."""
    given = store.given_weights(run)
    return {"weights": given["sha256"]} if given else {}


def check_search(plan: Plan, run: Run, schema: Schema) -> Search:
    """The plan's [search], all of whose values this run can have; UserError where one is impossible."""
    if plan.search is None:
        raise UserError(
            f"plan {plan.name} has no table [search.space]: name there what to try, such as "
            f'"head_phase.learning_rate" = {{ low = 1e-5, high = 1e-2, log = true }}'
        )
    if run.start_from:
        raise UserError(
            f"run {run.name} starts from {run.start_from}, whose networks know the galaxies that a trial would be "
            f"scored on: search {'another run' if run.starts_elsewhere else plan.lineage(run.name)[-1]}"
        )
    if schema.trains_on_votes and (fixed := [key for key in ("head", "loss") if key in plan.search.space]):
        raise UserError(
            f"search.space.{fixed[0]}: labels of kind {schema.kind} are learnt by their likelihood, with the head and "
            f"the loss that it takes: take that setting out"
        )
    whole = plan.model_dump()
    for key, tried in plan.search.space.items():
        for value in tried.ends():
            try:
                other = with_settings(run, {key: value})
                others = tuple(other if item.name == run.name else item for item in plan.runs)
                type(plan).model_validate(whole | {"runs": [item.model_dump() for item in others]})
            except ValidationError as error:
                reason = sentence(error, lambda location: [], named(whole))
                raise UserError(f"search.space.{key}: {value!r} is impossible for run {run.name}: {reason}") from None
    return plan.search
