"""Tables in the formats that astronomers use, told by content: one reader a format, all of one signature.

A reader takes a path and returns the tables of that file as `Part`s; rows come as Arrow, with what is missing as null.
"""

from pathlib import Path

from pipeline.catalogue import file_types
from pipeline.catalogue.readers import fits, parquet, parquet_folder, text, votable
from pipeline.catalogue.readers.part import Part
from pipeline.errors import UserError

READERS = {
    "parquet": parquet.parts,
    "parquet folder": parquet_folder.parts,
    "arrow": parquet.parts_of_arrow,
    "fits": fits.parts,
    "votable": votable.parts,
    "text": text.parts,
}


def parts(path: Path) -> list[Part]:
    """The tables of a file, or that of a folder, at least one; UserError where it holds none that can be read."""
    kind = "parquet folder" if path.is_dir() else file_types.content_of(path).kind
    if kind == "spreadsheet":
        raise UserError(f"{path} is a spreadsheet: save it as CSV and give that")
    if kind not in READERS:
        raise UserError(f"{path} is no table but {kind}: give Parquet, CSV or other delimited text, FITS or VOTable")
    try:
        found = READERS[kind](path)
    except UserError:
        raise
    except Exception as error:  # each library has its own for what is none of its tables, or a broken one
        raise cannot_be_read(path, kind, error) from None
    if not found:
        raise UserError(f"{path} has no table in it")
    return [part._replace(rows=_guarded(part, path, kind)) for part in found]


def cannot_be_read(path: Path, kind: str, error: Exception) -> UserError:
    """The sentence on a table that its library cannot read."""
    return UserError(f"{path} cannot be read as {kind}: {' '.join(str(error).split())[:200]}")


def _guarded(part: Part, path: Path, kind: str):
    def rows(columns: list[str], size: int):
        try:
            yield from part.rows(columns, size)
        except UserError:
            raise
        except Exception as error:
            raise cannot_be_read(path, kind, error) from None

    return rows
