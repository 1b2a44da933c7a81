"""The columns of a table as labels of a schema: fractions along the tree, numbers of votes; and what is wrong."""

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.core import tree
from pipeline.core.labels import Question, Schema
from pipeline.errors import UserError
from pipeline.labelled import inference
from pipeline.labelled.table import Table

IN_RANGE = 1e-6  # how far a fraction may lie outside [0, 1]
SUMS = 1e-2  # how far the answers of a question may be from summing to their parent; tables are often rounded


class Labels(NamedTuple):
    """What is known of n galaxies."""

    fractions: np.ndarray  # float64 (n, c), products along the path; NaN where unknown
    votes: np.ndarray | None  # float64 (n, q), 0 where a galaxy says nothing; None where fractions are learnt
    problems: list[str]  # what is wrong, a sentence each


def such_as(items: Iterable[object]) -> str:
    """'3 galaxies (such as 1, 2, 3)'."""
    items = list(items)
    return f"{len(items):,} galax{'y' if len(items) == 1 else 'ies'} (such as {', '.join(map(str, items[:3]))})"


def read(schema: Schema, table: Table) -> Labels:
    """The labels of all rows; UserError where a column is missing or holds no numbers where it should."""
    if schema.describes_classes:
        return _of_classes(schema, table)
    values = np.stack([table.numbers(name) for name in _columns(schema.columns, table, schema)], axis=1)
    return _of_votes(schema, table, values) if schema.kind == "votes" else _of_fractions(schema, table, values)


def join(schema: Schema, conditional: np.ndarray) -> np.ndarray:
    """Conditional fractions (n, c), NaN where unknown -> joint ones: 0 where nobody was asked, known or not."""
    joint = conditional.copy()
    for columns, parents in tree.in_tree_order(schema):
        if parents:
            above = joint[:, parents].sum(axis=1, keepdims=True)
            joint[:, columns] = np.where(above == 0, 0, joint[:, columns] * above)
    return joint


def _columns(wanted: Sequence[str], table: Table, schema: Schema) -> list[str]:
    """The table's columns of these names, whatever their case; UserError where some are missing."""
    there = {name.strip().casefold(): name for name in table.cells.column_names}
    missing = [name for name in wanted if name.casefold() not in there]
    if missing:
        near = difflib.get_close_matches(missing[0].casefold(), list(there), 1)
        hint = f" (did you mean {there[near[0]]!r}?)" if near else ""
        names = ", ".join(table.cells.column_names[:12]) or "none"
        raise UserError(
            f"{table.path}: {len(missing):,} of {len(wanted)} columns of the labels {schema.name} are missing (such as "
            f"{', '.join(map(repr, missing[:3]))}); there are {names}{hint}: rename the columns, "
            f'or let the schema say how they are named: columns = "{{answer}}" for one'
        )
    return [there[name.casefold()] for name in wanted]


def _of_classes(schema: Schema, table: Table) -> Labels:
    sources = _columns(_asked_by(schema, table), table, schema)
    conditional, problems = np.full((len(table.ids), len(schema.columns)), np.nan), []
    for question, columns, source in zip(schema.questions, schema.slices, sources, strict=True):
        codes, wrong = _answers(question, table.text(source))
        conditional[codes >= 0, columns] = np.eye(len(question.answers))[codes[codes >= 0]]
        problems += [_unmatched(question, source, cell, table.ids[codes == -2 - i]) for i, cell in enumerate(wrong)]
    fractions = join(schema, conditional)
    answered = np.stack([np.isfinite(conditional[:, columns]).all(axis=1) for columns in schema.slices], axis=1)
    reached = np.nan_to_num(tree.reached(schema, fractions), nan=1) > 0
    for question, answers in zip(schema.questions, (answered & ~reached).T, strict=True):
        if answers.any():
            problems.append(
                f"{such_as(table.ids[answers])} answer {question.name!r} though another answer of theirs does not lead "
                f"there: leave that cell empty"
            )
    known = np.stack([np.nan_to_num(fractions[:, columns]).sum(axis=1) > 0 for columns in schema.slices], axis=1)
    return Labels(fractions, known.astype(np.float64), problems)


def _asked_by(schema: Schema, table: Table) -> list[str]:
    """The columns of the questions; of a single one that has none of its name, a column such as `label` or `class`."""
    sources = [question.source for question in schema.questions]
    there = {name.strip().casefold() for name in table.cells.column_names}
    usual = [name for name in inference.NAMES if name in there]
    if len(sources) == 1 and sources[0].casefold() not in there and len(usual) == 1:
        return usual
    return sources


def _answers(question: Question, cells: list[str]) -> tuple[np.ndarray, list[str]]:
    """(answer of each cell int (n,), -1 where empty, -2 - i where it is none; the cells i that are none)."""
    exact = {answer: i for i, answer in enumerate(question.answers)}
    folded = {answer.casefold(): i for answer, i in exact.items()}
    folded = folded if len(folded) == len(exact) else {}
    coded = {code: i for i, code in enumerate(question.codes)}
    wrong: dict[str, int] = {}

    def code(cell: str) -> int:
        found = exact.get(cell, coded.get(cell, folded.get(cell.casefold(), -1)))
        return found if found >= 0 or not cell else -2 - wrong.setdefault(cell, len(wrong))

    return np.array([code(cell) for cell in cells], np.int64), list(wrong)


def _unmatched(question: Question, source: str, cell: str, ids: np.ndarray) -> str:
    near = difflib.get_close_matches(cell, question.answers, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"the answers are {', '.join(question.answers[:12])}"
    return f"{cell!r} in column {source!r} of {such_as(ids)} is no answer of {question.name!r}: {hint}"


def _of_votes(schema: Schema, table: Table, values: np.ndarray) -> Labels:
    counts, problems = np.nan_to_num(values), []
    bad = (counts < 0) | (counts != np.floor(counts)) | ~np.isfinite(counts)
    if bad.any():
        column = schema.columns[int(bad.any(axis=0).argmax())]
        problems.append(
            f"numbers of votes that are negative or not whole: {such_as(table.ids[bad.any(axis=1)])}, first in column "
            f'{column!r}: give counts, or kind = "fractions" for shares'
        )
    return of_counts(schema, counts)._replace(problems=problems)


def of_counts(schema: Schema, counts: np.ndarray) -> Labels:
    """The labels that numbers of votes (n, c) say."""
    conditional, totals = np.full(counts.shape, np.nan), np.zeros((len(counts), len(schema.questions)))
    for i, columns in enumerate(schema.slices):
        totals[:, i] = counts[:, columns].sum(axis=1)
        given = totals[:, i] > 0
        conditional[given, columns] = counts[given, columns] / totals[given, i][:, None]
    fractions = join(schema, conditional)
    reached = tree.reached(schema, fractions)
    return Labels(fractions, np.where(np.nan_to_num(reached) > 0, totals, 0), [])


def _of_fractions(schema: Schema, table: Table, values: np.ndarray) -> Labels:
    problems = []
    outside = (values < -IN_RANGE) | (values > 1 + IN_RANGE)
    if outside.any():
        problems.append(
            f"fractions outside 0 to 1: {such_as(table.ids[outside.any(axis=1)])}: give shares, not per cent; "
            f'kind = "votes" takes counts'
        )
    partly = np.zeros(len(values), bool)
    for columns in schema.slices:
        unknown = np.isnan(values[:, columns])
        partly |= unknown.any(axis=1) & ~unknown.all(axis=1)
    if partly.any():
        problems.append(f"{such_as(table.ids[partly])} lack some answers of a question and have others: fill in 0")
    values = values.clip(0, 1)
    if schema.conditional:
        for columns in schema.slices:
            values[~values[:, columns].any(axis=1), columns] = np.nan  # nobody was asked, of whom they could be shares
    fractions = join(schema, values) if schema.conditional else _with_zeros(schema, values)
    off = np.nan_to_num(tree.violations(schema, fractions)).max(axis=1)
    if not outside.any() and (off > SUMS).any():
        problems.append(_broken(schema, table, values, off))
    return Labels(fractions, None, problems)


def _with_zeros(schema: Schema, values: np.ndarray) -> np.ndarray:
    """Joint fractions with 0 for what nobody was asked, where a table leaves that empty."""
    joint = values.copy()
    for columns, parents in tree.in_tree_order(schema):
        if parents:
            nobody = (joint[:, parents].sum(axis=1, keepdims=True) == 0) & np.isnan(joint[:, columns])
            joint[:, columns] = np.where(nobody, 0, joint[:, columns])
    return joint


def _broken(schema: Schema, table: Table, values: np.ndarray, off: np.ndarray) -> str:
    """The sentence on fractions that do not sum to their parent, and what may mend them."""
    sums = [values[:, columns].sum(axis=1) for columns in schema.slices]
    each_is_whole = all(np.nan_to_num(abs(total - 1) * (total > 0)).max() <= SUMS for total in sums)
    mend = (
        'they are shares of who was asked: say fractions = "conditional" in the schema'
        if each_is_whole and not schema.conditional
        else "they can be normalised: divide the answers of a question by their sum, times the parent's fraction"
    )
    return (
        f"fractions whose questions do not sum to {'1' if schema.conditional else 'their parent'}: "
        f"{such_as(table.ids[off > SUMS])}, by up to {off.max():.2g}; {mend}"
    )


def occurrence_problems(schema: Schema, fractions: np.ndarray, folds: int) -> list[str]:
    """Answers that never occur, and classes with fewer galaxies than folds, as sentences."""
    problems = []
    for question, columns in zip(schema.questions, schema.slices, strict=True):
        count = (np.nan_to_num(fractions[:, columns]) > 0).sum(axis=0)
        never = [answer for answer, n in zip(question.answers, count, strict=True) if not n]
        few = {a: int(n) for a, n in zip(question.answers, count, strict=True) if 0 < n < folds}
        if never:
            problems.append(
                f"no galaxy with an image has the answer {', '.join(map(repr, never[:3]))} of {question.name!r}: leave "
                f"it out of the schema (without one, of the table), or add images of such galaxies"
            )
        if few and schema.describes_classes:
            name, n = next(iter(few.items()))
            problems.append(
                f"{name!r} of {question.name!r} has {n} galax{'y' if n == 1 else 'ies'}, fewer than the plan's {folds} "
                f"folds: choose fewer folds, add galaxies, or join it with another"
            )
    return problems


def contradicting(ids: np.ndarray, fractions: np.ndarray) -> tuple[np.ndarray, list[object]]:
    """(rows to keep: the first of each id; ids that stand there again with other labels)."""
    counts = Counter(ids.tolist())
    if len(counts) == len(ids):
        return np.arange(len(ids)), []
    first: dict[object, int] = {}
    other = []
    for row, galaxy in enumerate(ids.tolist()):
        earlier = first.setdefault(galaxy, row)
        if not np.array_equal(fractions[earlier], fractions[row], equal_nan=True):
            other.append(galaxy)
    return np.array(sorted(first.values())), other
