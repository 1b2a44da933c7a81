"""One person's way down the tree of questions: which is asked next, and whether answers are such a way.

Answers are names: question -> answer, as a schema has them.
"""

from collections.abc import Mapping

import numpy as np

from pipeline.core.labels import Question, Schema


def next_question(schema: Schema, given: Mapping[str, str]) -> Question | None:
    """The first question, in the schema's order, that these answers lead to and that is not among them."""
    return next((q for q in asked(schema, given) if q.name not in given), None)


def asked(schema: Schema, given: Mapping[str, str]) -> list[Question]:
    """The questions that everybody is asked, and those that these answers lead to."""
    said = columns_of(schema, given)
    return [question for question in schema.questions if not question.parents or said & set(question.parents)]


def columns_of(schema: Schema, given: Mapping[str, str]) -> set[str]:
    """The columns of these answers, as far as the schema has them."""
    return {
        column
        for question in schema.questions
        for answer, column in zip(question.answers, question.columns, strict=True)
        if given.get(question.name) == answer
    }


def is_way(schema: Schema, given: Mapping[str, str]) -> bool:
    """Whether these are answers of the schema, each to a question that the others lead to."""
    names = {question.name for question in asked(schema, given)}
    return set(given) <= names and len(columns_of(schema, given)) == len(given)


def without_last(schema: Schema, given: Mapping[str, str]) -> dict[str, str]:
    """The answers but for the one that was given last, where they were given in the schema's order."""
    last = [question.name for question in schema.questions if question.name in given][-1:]
    return {name: answer for name, answer in given.items() if name not in last}


def votes(schema: Schema, given: Mapping[str, str]) -> np.ndarray:
    """The answers as one vote for each of their columns: float64 (c,)."""
    said = columns_of(schema, given)
    return np.array([column in said for column in schema.columns], np.float64)
