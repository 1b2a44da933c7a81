"""The columns of a classified catalogue, as the README documents them; VERSION grows when they change."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.core import classes, tree
from pipeline.core.labels import Schema

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 2
COORDINATES = ("ra", "dec")
NOTHING: Mapping = MappingProxyType({})
KEPT = "kept: "  # before the names of a catalogue's columns that are carried through, among those of `table`
# (labels, type of ids, those of COORDINATES that the catalogue has, its columns that are kept) -> schema of a table
Layout = Callable[[Schema, str, tuple[str, ...], "Sequence[pa.Field]"], "pa.Schema"]
IDS = ("int64", "uint64", "string")  # types of ids; each can hold the one before, where those are not negative


def id_type(ids: pd.Series) -> str:
    """The least of IDS that holds these: text where they are no integers, or both negative and above 2^63."""
    if len(ids) and pd.api.types.infer_dtype(ids, skipna=False) != "integer":
        return "string"
    if not len(ids) or int(ids.max()) < 2**63:
        return "int64"
    return "uint64" if int(ids.min()) >= 0 else "string"


def class_columns(labels: Schema) -> tuple[str, ...]:
    """The columns of the derived class and its share, `five_class` for five; none where the schema derives none."""
    count = len(labels.own_classes)
    name = "five_class" if count == 5 else f"class_of_{count}"
    return (name, f"{name}_share") if count else ()


def schema(
    labels: Schema,
    ids: str,
    places: tuple[str, ...],
    kept: Sequence["pa.Field"] = (),
    stated: Mapping[str, str] = NOTHING,
) -> "pa.Schema":
    """The one schema of a table and all its shards: ids of one of IDS, those of COORDINATES that the catalogue has,
    the columns of it that are `kept`, then ours, with those of `stated.types` where these are wanted.
    """
    import pyarrow as pa

    of = {"id": ids} | dict.fromkeys(places, "float64")
    spreads = (f"{c}_spread" for c in labels.columns)
    of |= dict.fromkeys((*labels.columns, *conditional_columns(labels), *spreads), "float32")
    of |= dict.fromkeys((q.name for q in labels.questions), "string")
    of |= dict(zip(class_columns(labels), ("string", "float32"), strict=False))
    of |= {**stated, "reason": "string", "caveat": "string"}
    fields = [pa.field(name, pa.type_for_alias(kind)) for name, kind in of.items()]
    first = 1 + len(places)
    return pa.schema([*fields[:first], *kept, *fields[first:]])


def conditional_columns(labels: Schema) -> tuple[str, ...]:
    """Names of the conditional fractions' columns; none where the answers' own columns have these names."""
    return () if labels.names == labels.columns else labels.names


def to_arrow(frame: pd.DataFrame, schema: "pa.Schema") -> "pa.Table":
    """What `table` makes, in the types of the schema; what is missing is null."""
    import pyarrow as pa

    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    frame = frame.assign(**{name: [None if pd.isna(v) else str(v) for v in frame[name]] for name in texts})
    numbers = {field.name: field.type.to_pandas_dtype() for field in schema if field.name not in texts}
    return pa.Table.from_pandas(frame.astype(numbers), schema=schema, preserve_index=False)


def table(
    labels: Schema,
    galaxies: pd.DataFrame,
    joint: np.ndarray,
    spread: np.ndarray,
    reasons: list[str],
    caveats: list[str] | None = None,
    stated: Mapping[str, np.ndarray] = NOTHING,
) -> pd.DataFrame:
    """One row a galaxy: its own columns (id, ra, dec, those that are kept), then what the ensemble says of it.

    joint (n, c) vote fractions in the columns of the schema, spread (n, c) their standard deviation over networks and
    views; both NaN where `reasons` says why a galaxy could not be read ("" where it could). `caveats` say why an
    answer should not be trusted as others are (None, "": nothing does); `stated` are columns of `stated.values`.
    """
    read = np.array([not reason for reason in reasons], bool)
    known = np.where(read[:, None], joint, 0)
    shares = np.minimum(tree.to_conditional(labels, known), 1)  # but for rounding
    conditional = np.where(read[:, None], shares, np.nan)
    made = {name: galaxies[name].to_numpy() for name in ("id", *COORDINATES) if name in galaxies}
    made |= {name.removeprefix(KEPT): galaxies[name].to_numpy() for name in galaxies if name.startswith(KEPT)}
    made |= dict(zip(labels.columns, joint.T.astype(np.float32), strict=True))
    if names := conditional_columns(labels):
        made |= dict(zip(names, conditional.T.astype(np.float32), strict=True))
    made |= dict(zip((f"{c}_spread" for c in labels.columns), spread.T.astype(np.float32), strict=True))
    for question, columns in zip(labels.questions, labels.slices, strict=True):
        answers = np.array(question.answers, dtype=object)
        made[question.name] = np.where(read, answers[known[:, columns].argmax(axis=1)], None)
    made |= dict(zip(class_columns(labels), _classes(labels, known, read), strict=False))
    return pd.DataFrame({**made, **stated, "reason": reasons, "caveat": caveats or [""] * len(galaxies)})


def _classes(labels: Schema, joint: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(name of the predicted class, what its column has of the classes' columns together); nothing where not read."""
    of_classes, named = joint[:, labels.class_columns], np.array(labels.class_names, object)
    share = of_classes.max(axis=1) / np.maximum(of_classes.sum(axis=1), 1e-12)
    predicted = named[classes.predicted_class(labels, joint)]
    return np.where(read, predicted, None), np.where(read, share, np.nan)
