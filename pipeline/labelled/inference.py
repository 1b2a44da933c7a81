"""A schema from a table that has none: one question, whose answers are the values of its column of classes."""

from pipeline.errors import UserError
from pipeline.labelled.table import Table
from pipeline.plans.label_table import LabelTable

NAMES = ("label", "class", "labels", "classes", "label_name", "class_name")
MOST = 100  # answers that one question may have


def inferred(table: Table) -> LabelTable:
    """The schema of a table with a column of classes; UserError where there is none, or it cannot be one."""
    there = {name.strip().casefold(): name for name in table.cells.column_names}
    column = next((there[name] for name in NAMES if name in there), None)
    if column is None:
        raise UserError(
            f"{table.path}: no column {' or '.join(map(repr, NAMES[:2]))} among "
            f"{', '.join(table.cells.column_names[:12])}: describe the labels in a schema, and name it in the plan by "
            f'labels = "FILE.toml"'
        )
    values = sorted({cell for cell in table.text(column) if cell})
    if not 2 <= len(values) <= MOST:
        raise UserError(
            f"{table.path}: column {column!r} holds {_counted(len(values))}; expected 2 to {MOST} classes. "
            f'Fractions and votes are described in a schema, named in the plan by labels = "FILE.toml"'
        )
    return LabelTable.model_validate({"kind": "class", "questions": [{"name": column, "answers": values}]})


def _counted(n: int) -> str:
    return "one value" if n == 1 else f"{n:,} different values"
