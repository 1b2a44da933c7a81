"""The galaxies that most likely have some answer, as a table beside that of all galaxies."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.catalogue import writers
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.store.records import atomic

if TYPE_CHECKING:
    import pyarrow as pa


def column_of(labels: Schema, wanted: str) -> str:
    """The column of the answers that scores an answer or a class, by any of its names whatever their case.

    That is the share of all volunteers, not of those who were asked: who was not asked comes late. UserError where
    nothing has that name, with the nearest that there are, or several have.
    """
    names = _names(labels)
    found = names.get(wanted.strip().casefold(), [])
    if len(found) == 1:
        return found[0]
    if found:
        full = dict(zip(labels.columns, labels.names, strict=True))
        raise UserError(f"--most-likely {wanted}: several answers have that name: say which of "
                        f"{', '.join(full[column] for column in found)}")  # fmt: skip
    near = difflib.get_close_matches(wanted.strip().casefold(), names, 5, 0.5)
    near += [name for name in names if wanted.strip().casefold() in name and name not in near][: 5 - len(near)]
    known = f"did you mean {' or '.join(near)}?" if near else f"answers are {', '.join(labels.names)}"
    raise UserError(f"--most-likely {wanted}: no answer or class of that name: {known}")


def _names(labels: Schema) -> dict[str, list[str]]:
    """Name, in lower case -> the columns that it may mean: those of full names alone, where some are the same."""
    made: dict[str, list[str]] = {}
    answers = [answer for question in labels.questions for answer in question.answers]
    classes = [(name, labels.columns[at]) for name, at in zip(labels.class_names, labels.class_columns, strict=True)]
    by_rank = (
        [*zip(labels.columns, labels.columns, strict=True), *zip(labels.names, labels.columns, strict=True)],
        classes,
        [*zip(answers, labels.columns, strict=True), *((text, column) for column, text in labels.texts.items())],
    )
    for pairs in by_rank:
        settled = set(made)
        for name, column in pairs:
            key = name.casefold()
            if key not in settled and column not in made.setdefault(key, []):
                made[key].append(column)
    return made


def path_beside(path: Path, wanted: str) -> Path:
    """Where the table goes: beside that of all galaxies, of its kind; Parquet beside a folder."""
    suffix = path.suffix if writers.kind_of(path) else ".parquet"
    stem = path.name.removesuffix(path.suffix) if writers.kind_of(path) else path.name
    named = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in wanted.strip())
    return path.with_name(f"{stem}.most-likely-{named}{suffix}")


def first_rows(parts: "Iterator[pa.Table]", column: str, n: int) -> "pa.Table":
    """The n rows of all parts whose column is largest, the largest first; of equal ones the earlier. NaN is no row."""
    import pyarrow as pa

    best = None
    for part in parts:
        part = part if best is None else pa.concat_tables([best, part])
        values = part.column(column).to_numpy()
        order = np.argsort(-values, kind="stable")  # NaN comes last
        best = part.take(order[: min(n, int(np.isfinite(values).sum()))])
    return best.combine_chunks()


def write(parts: "Iterator[pa.Table]", column: str, n: int, path: Path) -> int:
    """Write these rows as a table, whole or not at all; how many there are."""
    made = first_rows(parts, column, n)
    with atomic(path) as temporary:
        writers.write(iter([made]), made.schema, temporary)
    return len(made)
