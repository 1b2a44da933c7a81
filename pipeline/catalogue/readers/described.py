"""What the headers of ECSV and Parquet tell of columns: units, UCDs, descriptions; of ECSV their types, too."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipeline.catalogue.readers.part import Meaning

SERIALIZED = "--BEGIN-ASTROPY-SERIALIZED-COLUMNS--", "--END-ASTROPY-SERIALIZED-COLUMNS--"  # among comments of FITS
ECSV = " %ECSV "  # how the comments of such a file begin
ASTROPY = b"table_meta_yaml"  # where astropy keeps the same header in a Parquet file
VOPARQUET = b"IVOA.VOTable-Parquet.content"  # a VOTable without rows, in a Parquet file
NUMBERS = (*(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float32", "float64", "bool")
TYPES = {name: pa.type_for_alias(name) for name in NUMBERS} | {"float16": pa.float32()}  # of ECSV; all else is text


def of_comments(comments: list[str]) -> dict[str, Meaning]:
    """Column -> what the comments above a text table, without their #, tell of it: nothing, unless it is ECSV."""
    return _of_yaml(comments[1:]) if comments and comments[0].startswith(ECSV) else {}


def types_of_comments(comments: list[str]) -> dict[str, pa.DataType] | None:
    """Column -> its type, as the comments above an ECSV table tell; None where it is none."""
    if not (comments and comments[0].startswith(ECSV)):
        return None
    return {column["name"]: TYPES.get(column.get("datatype"), pa.string()) for column in _columns(comments[1:])}


def of_fits(comments: list[str]) -> dict[str, Meaning]:
    """Column -> what astropy keeps of it among the COMMENTs of a FITS header; nothing where these hold no such part."""
    from astropy.table.meta import YamlParseError

    if any(mark not in comments for mark in SERIALIZED):
        return {}
    begin, end = map(comments.index, SERIALIZED)
    lines = "\n".join(comments[begin + 1 : end]).replace("\\\n", "")  # a line that goes on ends with a backslash
    try:
        return _of_yaml(lines.splitlines())
    except (YamlParseError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # of another's hand; units stand elsewhere, too


def of_schema(schema: pa.Schema) -> dict[str, Meaning]:
    """Column -> what the metadata of a Parquet or Arrow file tell of it: its own, astropy's, or a VOTable's."""
    metadata = schema.metadata or {}
    if VOPARQUET in metadata:
        return _of_votable(metadata[VOPARQUET])
    if ASTROPY in metadata:
        return _of_yaml(metadata[ASTROPY].decode().splitlines())
    own = {field.name: {k.decode(): v.decode() for k, v in (field.metadata or {}).items()} for field in schema}
    return {name: _meaning(told) for name, told in own.items()}


def _of_yaml(lines: Iterable[str]) -> dict[str, Meaning]:
    return {column["name"]: _meaning(column | (column.get("meta") or {})) for column in _columns(lines)}


def _columns(lines: Iterable[str]) -> list[dict[str, Any]]:
    from astropy.table.meta import get_header_from_yaml

    return get_header_from_yaml(lines)["datatype"]


def _of_votable(content: bytes) -> dict[str, Meaning]:
    from astropy.io import votable

    fields = votable.parse(io.BytesIO(content), verify="ignore").get_first_table().fields
    return {f.name: _meaning({"unit": str(f.unit or ""), "ucd": f.ucd, "description": f.description}) for f in fields}


def _meaning(told: Mapping[str, Any]) -> Meaning:
    texts = [told.get(key) for key in Meaning._fields]
    return Meaning(*(" ".join(text.split()) if isinstance(text, str) else "" for text in texts))
