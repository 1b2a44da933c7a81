"""Tables of vote fractions, a row per galaxy: written, read, and aligned by id."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.core.labels import Schema
from pipeline.errors import UserError
from pipeline.store.label_table import ID, check_fractions
from pipeline.store.records import atomic


def bytes_per_galaxy(schema: Schema) -> int:
    """Bytes of a galaxy's vote fractions in a file."""
    return 4 * len(schema.columns) + 8


def save_fractions(path: Path, frame: pd.DataFrame, schema: Schema) -> None:
    """Write vote fractions (n, c), indexed by GalaxyID, as Parquet float32, ascending by id."""
    check_fractions(frame, path, schema)
    with atomic(path) as temporary:
        frame.sort_index().astype(np.float32).to_parquet(temporary)


def load_fractions(path: Path, schema: Schema) -> pd.DataFrame:
    """Vote fractions float32 (n, c) of a `verified` path, indexed by GalaxyID; UserError where they are not that."""
    frame = pd.read_parquet(path)
    check_fractions(frame, path, schema)
    return frame


def fractions_frame(ids: np.ndarray, values: np.ndarray, schema: Schema) -> pd.DataFrame:
    """A frame of vote fractions from ids (n,) and values (n, c)."""
    return pd.DataFrame(values, index=pd.Index(ids, name=ID), columns=list(schema.columns))


def aligned_to(frame: pd.DataFrame, ids: pd.Index | np.ndarray, what: str) -> pd.DataFrame:
    """Rows of `frame` in the order of `ids`; UserError where either has galaxies that the other lacks."""
    missing, extra = pd.Index(ids).difference(frame.index), frame.index.difference(pd.Index(ids))
    if len(missing) or len(extra):
        raise UserError(
            f"{what}: {len(missing)} galaxies are missing (such as {list(missing[:3])}), "
            f"{len(extra)} are not expected (such as {list(extra[:3])})"
        )
    return frame.loc[ids]
