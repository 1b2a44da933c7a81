"""Arithmetic on the tree of questions of a label schema: sums, paths, conditional fractions, projections.

Several answers may lead to one question, if a volunteer can give but one of them: as many reach it as gave any.
Shapes are (n, c) for the c answers' columns of a schema and (n, q) for its q questions. NaN is an answer that nobody
knows; where it is allowed the docstring says so.
"""

import numpy as np

from pipeline.core.labels import Schema


def in_tree_order(schema: Schema) -> list[tuple[slice, list[int]]]:
    """(columns of a question, columns of its parents, none where everyone is asked), parents before their children."""
    pairs = ((columns, list(parents)) for columns, parents in zip(schema.slices, schema.parents, strict=True))
    return sorted(pairs, key=lambda pair: max(pair[1], default=-1))


def reached(schema: Schema, fractions: np.ndarray) -> np.ndarray:
    """(n, c) vote fractions -> (n, q) fraction of volunteers who reached each question."""
    everyone = np.ones(len(fractions), fractions.dtype)
    return np.stack([fractions[:, list(p)].sum(axis=1) if p else everyone for p in schema.parents], axis=1)


def leading_answers(schema: Schema, predicted: np.ndarray) -> np.ndarray:
    """Columns (k, up to 3) of the leading answers to the first question and to the two next that most would reach.

    Where there is one question only, its three likeliest answers.
    """
    if len(schema.questions) == 1:
        return np.argsort(-predicted, axis=1, kind="stable")[:, :3]
    asked_of = reached(schema, predicted)
    asked_of[:, [not parents for parents in schema.parents]] = 0.25  # others that everyone is asked, such as if odd
    asked_of[:, 0] = -1  # comes first anyway
    questions = np.column_stack([np.zeros(len(predicted), int), np.argsort(-asked_of, axis=1, kind="stable")[:, :2]])
    questions = questions[:, : len(schema.questions)]
    return np.array([
        [schema.slices[q].start + int(row[schema.slices[q]].argmax()) for q in asked]
        for row, asked in zip(predicted, questions, strict=True)
    ])  # fmt: skip


def to_conditional(schema: Schema, fractions: np.ndarray) -> np.ndarray:
    """(n, c) vote fractions -> (n, c) conditional fractions, value / parent; 0 where nobody was asked, NaN as given."""
    conditional = np.empty_like(fractions)
    for columns, parent in zip(schema.slices, reached(schema, fractions).T, strict=True):
        asked = parent[:, None] > 0
        conditional[:, columns] = np.where(asked, fractions[:, columns] / np.where(asked, parent[:, None], 1), 0)
    conditional[np.isnan(fractions)] = np.nan
    return conditional


def conditional_deviation(schema: Schema, fractions: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Standard deviation (n, c) of conditional fractions from vote fractions (n, c) and theirs, (n, c).

    A vote fraction is a conditional one times the fraction that reached the question. Where these two vary
    independently, the variance of the product says how much of it is theirs (Goodman 1960, JASA 55, 708, eq. 2).
    """
    parent, of_parent = reached(schema, fractions), np.sqrt(reached(schema, deviation**2))
    of_parent[:, [not parents for parents in schema.parents]] = 0  # everybody reaches it
    conditional, made = to_conditional(schema, fractions), np.zeros_like(deviation)
    for columns, r, s in zip(schema.slices, parent.T[..., None], of_parent.T[..., None], strict=True):
        own = np.square(deviation[:, columns]) - np.square(conditional[:, columns] * s)
        made[:, columns] = np.sqrt(np.maximum(own, 0) / np.maximum(r**2 + s**2, 1e-12))
    return made


def to_joint(schema: Schema, conditional: np.ndarray) -> np.ndarray:
    """(n, c) conditional fractions -> (n, c) vote fractions, products along the path."""
    fractions = conditional.copy()
    for columns, parents in in_tree_order(schema):
        if parents:
            fractions[:, columns] *= fractions[:, parents].sum(axis=1, keepdims=True)
    return fractions


def normalise(schema: Schema, values: np.ndarray) -> np.ndarray:
    """(n, c) any values -> (n, c) vote fractions on which every sum of the tree holds.

    Clips below 0, scales each question's answers to sum to 1 (equal shares where all are 0), then joins.
    """
    values = np.maximum(values, 0)
    conditional = np.empty_like(values)
    for columns in schema.slices:
        total = values[:, columns].sum(axis=1, keepdims=True)
        share = 1 / (columns.stop - columns.start)
        conditional[:, columns] = np.where(total > 0, values[:, columns] / np.where(total > 0, total, 1), share)
    return to_joint(schema, conditional)


def project(schema: Schema, values: np.ndarray, tolerance: float = 1e-6) -> np.ndarray:
    """(n, c) any values -> the nearest (n, c) on which every sum of the tree holds and nothing is negative.

    Votes lie in that convex set, and a projection onto one never leads away from any of its points: the squared error
    of no galaxy can grow. Sums hold within `tolerance`. Alternating projections with Dykstra's correction (Boyle &
    Dykstra 1986, doi:10.1007/978-1-4613-9940-7_3), for the rows that one step does not settle.
    """
    result = values.astype(np.float64)
    result -= _excess(schema, result)
    open_rows = np.flatnonzero((result < 0).any(axis=1))
    x, correction = result[open_rows], np.zeros((len(open_rows), result.shape[1]))
    while len(open_rows):
        inside = np.maximum(x + correction, 0)
        correction += x - inside
        x = inside - _excess(schema, inside)
        settled = x.min(axis=1) > -tolerance / result.shape[1]
        result[open_rows[settled]] = np.maximum(x[settled], 0)
        open_rows, x, correction = open_rows[~settled], x[~settled], correction[~settled]
    return result.astype(values.dtype)


def sums_and_totals(schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """(S (q, c), s (q,)): the sums of the tree hold where S @ fractions = s."""
    sums, totals = np.zeros((len(schema.slices), len(schema.columns))), np.zeros(len(schema.slices))
    for question, (columns, parents) in enumerate(zip(schema.slices, schema.parents, strict=True)):
        sums[question, columns] = 1
        sums[question, list(parents)] = -1
        totals[question] = not parents
    return sums, totals


def _excess(schema: Schema, values: np.ndarray) -> np.ndarray:
    """What is to be taken from each value (n, c) so that all sums hold, with the smallest change."""
    sums, totals = sums_and_totals(schema)
    return (values @ sums.T - totals) @ np.linalg.pinv(sums).T


def violations(schema: Schema, fractions: np.ndarray) -> np.ndarray:
    """(n, c) vote fractions -> (n, q) how far each question's answers are from summing to their parent."""
    sums = np.stack([fractions[:, columns].sum(axis=1) for columns in schema.slices], axis=1)
    return np.abs(sums - reached(schema, fractions))
