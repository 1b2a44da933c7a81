"""What galaxies are labelled with: questions, their answers, and which answers lead to which question.

A `Schema` is data and knows no file: `plans.label_schemas` makes one from TOML, `core.tree` computes with it. Vote
fractions are products along the path, so the answers of a question sum to the fraction of volunteers who reached it
(Willett et al. 2013, MNRAS 435, 2835, fig. 1); classes are such fractions of a single vote.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

UNCLEAR = {"yes", "no", "none", "other", "unknown"}  # answers that say nothing without their question
KINDS = ("fractions", "votes", "class")  # shares of the votes; numbers of votes; the name of the answer


@dataclass(frozen=True)
class Question:
    """One question: its answers, a column each, and those that lead to it (none: everyone is asked)."""

    number: int
    name: str  # as the field's public catalogues have it
    text: str
    answers: tuple[str, ...]
    texts: tuple[str, ...]  # of the answers, for people
    columns: tuple[str, ...]
    parents: tuple[str, ...]  # columns of answers of which a volunteer can give but one
    source: str | None = None  # the column of a table that names the answer, of labels that are classes
    codes: tuple[str, ...] = ()  # what a table may say in place of the answers


@dataclass(frozen=True)
class DerivedClass:
    """A class that galaxies with clear votes belong to: the least fraction of each column; the last is its own."""

    name: str
    least: tuple[tuple[str, float], ...]
    published_recall: float | None = None


@dataclass(frozen=True)
class Schema:
    """Questions, parents always before their children, and what is derived from them."""

    name: str
    kind: str  # of KINDS
    questions: tuple[Question, ...]
    own_classes: tuple[DerivedClass, ...] = ()
    published_accuracy: float | None = None
    volunteers: int | None = None  # who saw a galaxy, on average, where that is known
    id: str | None = None  # columns of the user's table
    image: str | None = None
    conditional: bool = False  # the table's fractions are those of who was asked, not of all
    balanced: bool = False  # every class weighs the same in training, however rare

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of all answers' columns, in order."""
        return tuple(column for question in self.questions for column in question.columns)

    @cached_property
    def texts(self) -> dict[str, str]:
        """Column -> the answer, for people."""
        return {c: text for q in self.questions for c, text in zip(q.columns, q.texts, strict=True)}

    @cached_property
    def labels(self) -> dict[str, str]:
        """Column -> the answer for people where its question does not stand beside it: named where it must be."""
        lower = [text.lower() for text in self.texts.values()]
        return {
            column: text if len(self.questions) == 1 or _is_clear(text, lower) else f"{question.text}: {text}"
            for question in self.questions
            for column, text in zip(question.columns, question.texts, strict=True)
        }

    @cached_property
    def short_names(self) -> dict[str, str]:
        """Column -> numbers of its question and answer: 1.2."""
        return {column: f"{q.number}.{i}" for q in self.questions for i, column in enumerate(q.columns, 1)}

    @cached_property
    def index(self) -> dict[str, int]:
        """Column -> its place."""
        return {column: i for i, column in enumerate(self.columns)}

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The columns of each question."""
        return tuple(slice(self.index[q.columns[0]], self.index[q.columns[-1]] + 1) for q in self.questions)

    @cached_property
    def parents(self) -> tuple[tuple[int, ...], ...]:
        """For each question the columns of the answers that lead to it."""
        return tuple(tuple(self.index[column] for column in q.parents) for q in self.questions)

    @cached_property
    def roots(self) -> tuple[int, ...]:
        """For each question the first one on the way to it, by its place."""
        found: list[int] = []
        for i, parents in enumerate(self.parents):
            above = next(
                (k for k, part in enumerate(self.slices) if {*range(part.start, part.stop)} & {*parents}), None
            )
            found.append(i if above is None else found[above])
        return tuple(found)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all answers in the field's public catalogues: question_answer."""
        return tuple(f"{q.name}_{answer}" for q in self.questions for answer in q.answers)

    @cached_property
    def classes(self) -> tuple[DerivedClass, ...]:
        """Its own derived classes; without any, the answers of the first question, of those where most gave it."""
        first = self.questions[0]
        made = zip(first.texts, first.columns, strict=True)
        return self.own_classes or tuple(DerivedClass(text, ((column, 0.5),)) for text, column in made)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(one.name for one in self.classes)

    @cached_property
    def class_columns(self) -> np.ndarray:
        """The column that scores each class: int64 (classes,)."""
        return np.array([self.index[one.least[-1][0]] for one in self.classes])

    @cached_property
    def leading_column(self) -> int:
        """The answer that the tree hangs on: the first that leads to a question, else the first of all."""
        return next((parents[0] for parents in self.parents if parents), 0)

    @property
    def describes_classes(self) -> bool:
        """Whether galaxies are labelled with classes, and scored as such."""
        return self.kind == "class"

    @property
    def trains_on_votes(self) -> bool:
        """Whether networks learn from numbers of votes, by their likelihood; a class is one vote."""
        return self.kind != "fractions"


def _is_clear(text: str, lower: list[str]) -> bool:
    """Whether an answer says by itself what it answers: a word that no other question has, of all texts `lower`."""
    has_letters = any(letter.isalpha() for letter in text)
    return has_letters and text.lower() not in UNCLEAR and lower.count(text.lower()) == 1
