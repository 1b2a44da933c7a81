"""What the page says of one galaxy beside its numbers: why its class is not where most votes lead, and what else."""

import numpy as np

from pipeline.core import classes
from pipeline.core.labels import Schema


def why_not_leading(schema: Schema, joint: np.ndarray) -> str:
    """Why the class of joint vote fractions (c,) is not the one that the leading answers lead to; empty where it is."""
    chosen = schema.classes[int(classes.predicted_class(schema, joint[None])[0])]
    own = schema.index[chosen.least[-1][0]]
    on_the_way = {own, *above(schema, own), *(schema.index[column] for column, _ in chosen.least)}
    for question, columns in zip(schema.questions, schema.slices, strict=True):
        leading = columns.start + int(joint[columns].argmax())
        if leading not in on_the_way and on_the_way & set(range(columns.start, columns.stop)):
            return _sentence(schema, joint, own, leading, question.text)
    return ""


def _sentence(schema: Schema, joint: np.ndarray, own: int, leading: int, question: str) -> str:
    names = list(schema.labels.values())
    said = (
        f"Most would answer “{names[leading]}” to “{question}” ({percent(joint[leading])} of all), which does not lead "
        f"to this class. A class is chosen by its own answer alone, here “{names[own]}” with {percent(joint[own])}"
    )
    if any(leading in parents for parents in schema.parents):
        return f"{said}; those of “{names[leading]}” are divided among the answers that follow it."
    return f"{said}, which is more than the answers of the other classes get."


def above(schema: Schema, column: int) -> list[int]:
    """All answers that lead to the question of an answer, the nearest first."""
    place = next(q for q, part in enumerate(schema.slices) if part.start <= column < part.stop)
    parents = schema.parents[place]
    return [*parents, *(further for parent in parents for further in above(schema, parent))]


def besides(schema: Schema, joint: np.ndarray) -> list[str]:
    """Leading answers to what everybody is asked besides the first question, and where they lead: odd, merger."""
    names, found = list(schema.labels.values()), []
    for q in [q for q, parents in enumerate(schema.parents) if q and not parents]:
        path = _leading_path(schema, joint, q)
        found.append(", ".join(names[column] for column in path))
    return found


def _leading_path(schema: Schema, joint: np.ndarray, q: int) -> list[int]:
    """The leading answer to a question, and to each first question that it leads to."""
    path, place = [], q
    while place is not None:
        columns = schema.slices[place]
        path.append(columns.start + int(joint[columns].argmax()))
        place = next((child for child, parents in enumerate(schema.parents) if path[-1] in parents), None)
    return path


def percent(share: float) -> str:
    """95 %."""
    return f"{100 * share:.0f} %"
