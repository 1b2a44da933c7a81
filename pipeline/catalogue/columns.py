"""The columns of a classified catalogue, as the README documents them; VERSION grows when they change."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pipeline.core import tree
from pipeline.core.metrics import CLEAN_SAMPLE, class_columns, five_class_predicted

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 2
FIELD_NAMES = {  # question -> its name and those of its answers in the field's public catalogues
    1: ("smooth-or-featured", "smooth", "featured-or-disk", "artifact"),
    2: ("disk-edge-on", "yes", "no"),
    3: ("bar", "yes", "no"),
    4: ("has-spiral-arms", "yes", "no"),
    5: ("bulge-size", "none", "just-noticeable", "obvious", "dominant"),
    6: ("something-odd", "yes", "no"),
    7: ("how-rounded", "completely", "in-between", "cigar-shaped"),
    8: ("odd-feature", "ring", "lens-or-arc", "disturbed", "irregular", "other", "merger", "dust-lane"),
    9: ("edge-on-bulge", "rounded", "boxy", "none"),
    10: ("spiral-winding", "tight", "medium", "loose"),
    11: ("spiral-arm-count", "1", "2", "3", "4", "more-than-4", "cant-tell"),
}
QUESTIONS = tuple(FIELD_NAMES[question.number][0] for question in tree.QUESTIONS)
ANSWERS = tuple(
    f"{FIELD_NAMES[q.number][0]}_{a}" for q in tree.QUESTIONS for a in FIELD_NAMES[q.number][1:]
)  # as tree.COLUMNS
CLASSES = tuple(CLEAN_SAMPLE)
COORDINATES = ("ra", "dec")
KEPT = "kept: "  # before the names of a catalogue's columns that are carried through, among those of `table`
IDS = ("int64", "uint64", "string")  # types of ids; each can hold the one before, where those are not negative


def id_type(ids: pd.Series) -> str:
    """The least of IDS that holds these: text where they are no integers, or both negative and above 2^63."""
    if len(ids) and pd.api.types.infer_dtype(ids, skipna=False) != "integer":
        return "string"
    if not len(ids) or int(ids.max()) < 2**63:
        return "int64"
    return "uint64" if int(ids.min()) >= 0 else "string"


def schema(ids: str, places: tuple[str, ...], kept: Sequence["pa.Field"] = ()) -> "pa.Schema":
    """The one schema of a table and all its shards: ids of one of IDS, those of COORDINATES that the catalogue has,
    the columns of it that are `kept`, then ours.
    """
    import pyarrow as pa

    of = {"id": ids} | dict.fromkeys(places, "float64")
    spreads = (f"{c}_spread" for c in tree.COLUMNS)
    of |= dict.fromkeys((*tree.COLUMNS, *ANSWERS, *spreads), "float32") | dict.fromkeys(QUESTIONS, "string")
    of |= {"five_class": "string", "five_class_share": "float32"} | dict.fromkeys(("reason", "caveat"), "string")
    fields = [pa.field(name, pa.type_for_alias(kind)) for name, kind in of.items()]
    first = 1 + len(places)
    return pa.schema([*fields[:first], *kept, *fields[first:]])


def to_arrow(frame: pd.DataFrame, schema: "pa.Schema") -> "pa.Table":
    """What `table` makes, in the types of the schema; what is missing is null."""
    import pyarrow as pa

    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    frame = frame.assign(**{name: [None if pd.isna(v) else str(v) for v in frame[name]] for name in texts})
    numbers = {field.name: field.type.to_pandas_dtype() for field in schema if field.name not in texts}
    return pa.Table.from_pandas(frame.astype(numbers), schema=schema, preserve_index=False)


def table(
    galaxies: pd.DataFrame,
    joint: np.ndarray,
    spread: np.ndarray,
    reasons: list[str],
    caveats: list[str] | None = None,
) -> pd.DataFrame:
    """One row a galaxy: its own columns (id, ra, dec, those that are kept), then what the ensemble says of it.

    joint (n, 37) vote fractions as in the competition, spread (n, 37) their standard deviation over networks and
    views; both NaN where `reasons` says why a galaxy could not be read ("" where it could). `caveats` say why an
    answer should not be trusted as others are (None, "": nothing does).
    """
    read = np.array([not reason for reason in reasons], bool)
    known = np.where(read[:, None], joint, 0)
    conditional = np.where(read[:, None], tree.to_conditional(known), np.nan)
    made = {name: galaxies[name].to_numpy() for name in ("id", *COORDINATES) if name in galaxies}
    made |= {name.removeprefix(KEPT): galaxies[name].to_numpy() for name in galaxies if name.startswith(KEPT)}
    made |= dict(zip(tree.COLUMNS, joint.T.astype(np.float32), strict=True))
    made |= dict(zip(ANSWERS, conditional.T.astype(np.float32), strict=True))
    made |= dict(zip((f"{c}_spread" for c in tree.COLUMNS), spread.T.astype(np.float32), strict=True))
    for question, name, columns in zip(tree.QUESTIONS, QUESTIONS, tree.SLICES, strict=True):
        answers = np.array(FIELD_NAMES[question.number][1:], dtype=object)
        made[name] = np.where(read, answers[known[:, columns].argmax(axis=1)], None)
    five = known[:, class_columns()]
    made["five_class"] = np.where(read, np.array(CLASSES, object)[five_class_predicted(known)], None)
    made["five_class_share"] = np.where(read, five.max(axis=1) / np.maximum(five.sum(axis=1), 1e-12), np.nan)
    made["reason"] = reasons
    made["caveat"] = caveats or [""] * len(galaxies)
    return pd.DataFrame(made)
