"""The answers of a label schema on the panels of a figure: a panel a question, several where it has many answers."""

from typing import NamedTuple

from pipeline.core.labels import Question, Schema
from pipeline.report.figure import clipped

MOST = 7  # answers that a panel tells apart
TITLE = 26  # letters above a panel


class Panel(NamedTuple):
    """Answers of one question."""

    question: Question
    columns: tuple[str, ...]
    title: str


def panels(schema: Schema) -> list[Panel]:
    """The panels of all questions, in their order."""
    made = []
    for question in schema.questions:
        parts = [question.columns[i : i + MOST] for i in range(0, len(question.columns), MOST)]
        for i, part in enumerate(parts, 1):
            which = f" ({i} of {len(parts)})" if len(parts) > 1 else ""
            title = clipped(f"{question.number} {question.text}", TITLE - len(which))
            made.append(Panel(question, part, title + which))
    return made
