"""The competition's files, checked before any work: every problem is found and told at once."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.competition import duplicates, source_files, tables
from pipeline.competition.source_files import Files, Images
from pipeline.competition.tables import ID
from pipeline.core import tree
from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.plans.label_schemas import galaxy_zoo_2
from pipeline.store.label_table import column_range

IN_RANGE = 1e-6  # how far a vote fraction may lie outside [0, 1]
SUMS = 1e-3  # how far the answers of a question may be from summing to their parent


def examples(items: Iterable[Any]) -> str:
    """'3 (such as 1, 2, 3)': the count and up to three of them."""
    items = list(items)
    return f"{len(items):,} (such as {', '.join(str(item) for item in items[:3])})"


def label_problems(schema: Schema, labels: pd.DataFrame) -> list[str]:
    """What is wrong with the labels as read from their file, as sentences."""
    problems = id_problems("labels", labels.index)
    if header := header_problems("labels", schema, list(labels.columns)):
        return problems + header
    values = labels.to_numpy()
    finite = np.isfinite(values).all(axis=1)
    inside = (values >= -IN_RANGE).all(axis=1) & (values <= 1 + IN_RANGE).all(axis=1)
    off = np.nan_to_num(tree.violations(schema, values)).max(axis=1)
    checks = {
        "galaxies with values that are not finite": ~finite,
        "galaxies with values outside [0, 1]": finite & ~inside,
        f"galaxies whose answers do not sum to their parent within {SUMS}": finite & inside & (off > SUMS),
    }
    return problems + [
        f"labels: {what}: {examples(labels.index[wrong])}" for what, wrong in checks.items() if wrong.any()
    ]


def header_problems(what: str, schema: Schema, columns: list[str]) -> list[str]:
    """Columns that are missing or unknown, as at most one sentence."""
    missing = [column for column in schema.columns if column not in columns]
    unknown = [column for column in columns if column not in schema.columns]
    parts = [f"{name} {examples(found)}" for name, found in (("missing", missing), ("unknown", unknown)) if found]
    return [f"{what}: expected {column_range(schema)}; {', '.join(parts)}"] if parts else []


def id_problems(what: str, ids: pd.Index | np.ndarray) -> list[str]:
    """Ids that are not integers or occur twice; or none at all."""
    ids = pd.Index(ids)
    if not len(ids):
        return [f"{what}: no galaxies in it"]
    strange = [i for i in map(str, ids) if source_files.parse_galaxy_id(i) is None]
    texts = [i or "an empty cell" for i in strange if not (i.isascii() and i.isdecimal())]
    others = [i for i in strange if i.isascii() and i.isdecimal()]
    twice = ids[ids.duplicated()].unique()
    checks = {
        f"{ID}s that are not integers": texts,
        f"{ID}s with leading zeros, or of more than 18 digits": others,
        f"{ID}s that occur more than once": twice,
    }
    return [f"{what}: {name}: {examples(found)}" for name, found in checks.items() if len(found)]


def matching_problems(what: str, images: np.ndarray, table: str, listed: pd.Index | np.ndarray) -> list[str]:
    """Images that the table does not list, and galaxies of the table without image."""
    listed = np.array([i for i in map(source_files.parse_galaxy_id, map(str, listed)) if i is not None], np.int64)
    checks = {
        f"{what} that are not in the {table}": np.setdiff1d(images, listed),
        f"galaxies of the {table} without one of the {what}": np.setdiff1d(listed, images),
    }
    return [f"{name}: {examples(found)}" for name, found in checks.items() if len(found)]


def read_checked(files: Files, schema: Schema) -> tuple[pd.DataFrame, tuple[list[str], np.ndarray]]:
    """(labels ascending by id, (header, ids) of the sample); UserError lists every problem at once."""
    problems: list[str] = []

    def attempt(read: Callable[[Path], Any], path: Path) -> Any:
        try:
            return read(path)
        except UserError as error:
            problems.append(str(error))
            return None

    labels = attempt(lambda path: tables.read_labels(path, schema), files.labels)
    sample = attempt(tables.read_sample, files.sample)
    train, test = attempt(_ids, files.train), attempt(_ids, files.test)
    if labels is not None:
        problems += label_problems(schema, labels)
    if sample is not None:
        problems += id_problems("sample", sample[1]) + header_problems("sample", schema, sample[0][1:])
    for images, table, listed, what in (
        (train, "labels", None if labels is None else labels.index, "training images"),
        (test, "sample", None if sample is None else sample[1], "test images"),
    ):
        if images is not None:
            problems += images[1] + (matching_problems(what, images[0], table, listed) if listed is not None else [])
    if problems:
        raise UserError(_problems_message(files, problems))
    return labels.sort_index().clip(0, 1), sample


def _ids(path: Path) -> tuple[np.ndarray, list[str]]:
    with Images(path) as images:
        return images.ids, images.problems


def _problems_message(files: Files, problems: list[str]) -> str:
    lines = "\n".join(f"  - {problem}" for problem in problems)
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return (
        f"the competition's files in {files.labels.parent} have {count}; nothing was written:\n{lines}\n"
        f"download the damaged files again from {source_files.DATA_PAGE}, or repair them, and run the same command"
    )


def fingerprints(files: Files) -> dict[str, Any]:
    """Fingerprints of the content of the four files, independent of their location."""

    def of_table(path: Path) -> dict[str, Any]:
        data = tables.read_bytes(path)
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def of_images(path: Path) -> dict[str, Any]:
        with Images(path) as images:
            return images.fingerprint()

    readers = {"labels": of_table, "train": of_images, "test": of_images, "sample": of_table}
    try:
        return {field.name: readers[field.name](getattr(files, field.name)) for field in fields(files)}
    except UserError:
        read_checked(files, galaxy_zoo_2())  # reports this problem together with all others
        raise


def copies_in(files: Files) -> dict[str, Any]:
    """Groups of identical images."""
    with Images(files.train) as train, Images(files.test) as test:
        return duplicates.find(train, test)
