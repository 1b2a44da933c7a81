"""The Galaxy Zoo 2 decision tree: 11 questions, 37 answers, as one table.

Every other fact about the tree (columns, slices, parents, names) is computed from `QUESTIONS`.
Vote fractions are stored as the competition stores them: products along the path, so the answers of a
question sum to the fraction of volunteers who reached it (Willett et al. 2013, MNRAS 435, 2835, fig. 1).
Question 6 is the exception that the competition's files make: its answers sum to 1.
"""

from typing import NamedTuple

import numpy as np


class Question(NamedTuple):
    """One question: its number, text, the answer that leads to it (None: everyone is asked), its answers."""

    number: int
    text: str
    parent: str | None
    answers: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns in the label file, in order: Class<question>.<answer>."""
        return tuple(f"Class{self.number}.{i}" for i in range(1, len(self.answers) + 1))


QUESTIONS = (
    Question(1, "smooth or features", None, ("smooth", "features or disk", "star or artifact")),
    Question(2, "edge-on", "Class1.2", ("edge-on yes", "edge-on no")),
    Question(3, "bar", "Class2.2", ("bar yes", "bar no")),
    Question(4, "spiral arms", "Class2.2", ("spiral yes", "spiral no")),
    Question(5, "bulge", "Class2.2", ("no bulge", "just noticeable", "obvious", "dominant")),
    Question(6, "anything odd", None, ("odd yes", "odd no")),
    Question(7, "roundness", "Class1.1", ("completely round", "in between", "cigar-shaped")),
    Question(
        8,
        "odd feature",
        "Class6.1",
        ("ring", "lens or arc", "disturbed", "irregular", "other", "merger", "dust lane"),
    ),
    Question(9, "bulge shape, edge-on", "Class2.1", ("rounded", "boxy", "none seen")),
    Question(10, "arms wound", "Class4.1", ("tight", "medium", "loose")),
    Question(11, "number of arms", "Class4.1", ("1", "2", "3", "4", "more than 4", "can't tell")),
)

COLUMNS = tuple(column for question in QUESTIONS for column in question.columns)
ANSWERS = {
    column: answer for question in QUESTIONS for column, answer in zip(question.columns, question.answers, strict=True)
}
INDEX = {column: i for i, column in enumerate(COLUMNS)}
SLICES = tuple(slice(INDEX[q.columns[0]], INDEX[q.columns[-1]] + 1) for q in QUESTIONS)
PARENTS = tuple(None if q.parent is None else INDEX[q.parent] for q in QUESTIONS)  # column index per question


def in_tree_order() -> list[tuple[slice, int | None]]:
    """(columns of a question, column of its parent), parents always before their children."""
    return sorted(zip(SLICES, PARENTS, strict=True), key=lambda pair: -1 if pair[1] is None else pair[1])


def reached(fractions: np.ndarray) -> np.ndarray:
    """(n, 37) vote fractions -> (n, 11) fraction of volunteers who reached each question."""
    everyone = np.ones(len(fractions), fractions.dtype)
    return np.stack([everyone if p is None else fractions[:, p] for p in PARENTS], axis=1)


def leading_answers(predicted: np.ndarray) -> np.ndarray:
    """Columns (k, 3) of the leading answers to question 1 and to the two next that most volunteers would reach."""
    asked_of = reached(predicted)
    asked_of[:, 0], asked_of[:, 5] = -1, 0.25  # question 1 comes first anyway; everyone is asked question 6, if odd
    questions = np.column_stack([np.zeros(len(predicted), int), np.argsort(-asked_of, axis=1, kind="stable")[:, :2]])
    return np.array([
        [SLICES[q].start + int(row[SLICES[q]].argmax()) for q in asked]
        for row, asked in zip(predicted, questions, strict=True)
    ])  # fmt: skip


def to_conditional(fractions: np.ndarray) -> np.ndarray:
    """(n, 37) vote fractions -> (n, 37) conditional fractions, value / parent; 0 where nobody was asked."""
    conditional = np.empty_like(fractions)
    for columns, parent in zip(SLICES, reached(fractions).T, strict=True):
        asked = parent[:, None] > 0
        conditional[:, columns] = np.where(asked, fractions[:, columns] / np.where(asked, parent[:, None], 1), 0)
    return conditional


def to_joint(conditional: np.ndarray) -> np.ndarray:
    """(n, 37) conditional fractions -> (n, 37) vote fractions, products along the path."""
    fractions = conditional.copy()
    for columns, parent in in_tree_order():
        if parent is not None:
            fractions[:, columns] *= fractions[:, parent : parent + 1]
    return fractions


def normalise(values: np.ndarray) -> np.ndarray:
    """(n, 37) any values -> (n, 37) vote fractions on which every sum of the tree holds.

    Clips below 0, scales each question's answers to sum to 1 (equal shares where all are 0), then joins.
    """
    values = np.maximum(values, 0)
    conditional = np.empty_like(values)
    for columns in SLICES:
        total = values[:, columns].sum(axis=1, keepdims=True)
        share = 1 / (columns.stop - columns.start)
        conditional[:, columns] = np.where(total > 0, values[:, columns] / np.where(total > 0, total, 1), share)
    return to_joint(conditional)


def project(values: np.ndarray, tolerance: float = 1e-6) -> np.ndarray:
    """(n, 37) any values -> the nearest (n, 37) on which every sum of the tree holds and nothing is negative.

    Votes lie in that convex set, and a projection onto one never leads away from any of its points: the squared error
    of no galaxy can grow. Sums hold within `tolerance`. Alternating projections with Dykstra's correction (Boyle &
    Dykstra 1986, doi:10.1007/978-1-4613-9940-7_3), for the rows that one step does not settle.
    """
    result = values.astype(np.float64)
    result -= _excess(result)
    open_rows = np.flatnonzero((result < 0).any(axis=1))
    x, correction = result[open_rows], np.zeros((len(open_rows), result.shape[1]))
    while len(open_rows):
        inside = np.maximum(x + correction, 0)
        correction += x - inside
        x = inside - _excess(inside)
        settled = x.min(axis=1) > -tolerance / result.shape[1]
        result[open_rows[settled]] = np.maximum(x[settled], 0)
        open_rows, x, correction = open_rows[~settled], x[~settled], correction[~settled]
    return result.astype(values.dtype)


def sums_and_totals() -> tuple[np.ndarray, np.ndarray]:
    """(S (11, 37), s (11,)): the sums of the tree hold where S @ fractions = s."""
    sums, totals = np.zeros((len(SLICES), len(COLUMNS))), np.zeros(len(SLICES))
    for question, (columns, parent) in enumerate(zip(SLICES, PARENTS, strict=True)):
        sums[question, columns] = 1
        if parent is None:
            totals[question] = 1
        else:
            sums[question, parent] = -1
    return sums, totals


def _excess(values: np.ndarray) -> np.ndarray:
    """What is to be taken from each value (n, 37) so that all sums hold, with the smallest change."""
    sums, totals = sums_and_totals()
    return (values @ sums.T - totals) @ np.linalg.pinv(sums).T


def violations(fractions: np.ndarray) -> np.ndarray:
    """(n, 37) vote fractions -> (n, 11) how far each question's answers are from summing to their parent."""
    sums = np.stack([fractions[:, columns].sum(axis=1) for columns in SLICES], axis=1)
    return np.abs(sums - reached(fractions))
