"""labels.parquet: the answers' columns, and beside them numbers of votes and names of images where there are any."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.store.records import atomic

ID = "GalaxyID"
IMAGE = "image: name"


def column_range(schema: Schema) -> str:
    """The columns of a schema, as a sentence tells them: 'the 37 columns Class1.1 … Class11.6'."""
    return f"the {len(schema.columns)} columns {schema.columns[0]} … {schema.columns[-1]}"


def check_fractions(frame: pd.DataFrame, path: Path, schema: Schema, *, missing: bool = False) -> None:
    if tuple(frame.columns) != schema.columns or frame.index.name != ID:
        raise UserError(f"{path}: expected {ID} and {column_range(schema)} in order")
    if frame.index.has_duplicates:
        raise UserError(f"{path}: GalaxyID {frame.index[frame.index.duplicated()][0]} occurs twice")
    if not np.isfinite(frame.fillna(0) if missing else frame).all(axis=None):
        raise UserError(f"{path}: {int((~np.isfinite(frame.to_numpy())).any(axis=1).sum())} rows are not finite")


def vote_columns(schema: Schema) -> list[str]:
    """Columns of labels.parquet with the numbers of votes of each question."""
    return [f"votes: {question.name}" for question in schema.questions] if schema.trains_on_votes else []


def save_labels(
    path: Path, labels: pd.DataFrame, schema: Schema, votes: np.ndarray | None, images: list[str] | None
) -> None:
    """Write labels (n, c), NaN where unknown, the numbers of votes (n, q) and the names of images, where there are."""
    check_fractions(labels, path, schema, missing=True)
    frame = labels.astype(np.float32)
    if votes is not None:
        frame = frame.assign(**dict(zip(vote_columns(schema), votes.T.astype(np.float32), strict=True)))
    frame = frame if images is None else frame.assign(**{IMAGE: images})
    with atomic(path) as temporary:
        frame.sort_index().to_parquet(temporary)


def plain_id(value: Any) -> int | str:
    """An id as Python's own integer or text."""
    return value.item() if isinstance(value, np.generic) else value


def id_array(ids: pd.Index | np.ndarray) -> np.ndarray:
    """Ids (n,) as int64, or as NumPy's text, which .npy files hold."""
    return np.asarray(ids, np.int64) if ids.dtype.kind in "iu" else np.array(list(ids), dtype=str)
