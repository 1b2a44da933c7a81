"""Recognition of a catalogue's columns by their names: id, ra, dec, image, pixel scale, radius."""

from itertools import count
from pathlib import Path

from pipeline.catalogue.columns import COORDINATES
from pipeline.catalogue.numbers import without_unit
from pipeline.catalogue.readers.part import Part
from pipeline.errors import UserError

HOURS = {"15 deg": "hours"}  # as a reader writes that unit
NAMES = {  # what a column means -> names that it goes by, lower-case, the likeliest first
    "id": (
        *("id", "galaxyid", "galaxy_id", "objid", "obj_id", "object_id", "source_id", "dr8objid", "dr8_id", "dr7objid"),
        *("specobjid", "iauname", "iau_name", "id_str", "name", "__index_level_0__"),  # the last: an index of pandas
    ),
    "ra": ("ra", "ra_deg", "raj2000", "_ra", "_raj2000", "ra_hours"),
    "dec": ("dec", "dec_deg", "dej2000", "decj2000", "_de", "_dej2000"),
    "image": ("image", "path", "file", "filename", "file_name", "file_loc", "url", "jpg_url", "cutout"),
    "pixel_scale": ("pixel_scale", "pixscale"),  # of the image
    "radius": ("radius", "r90", "petror90", "petror90_r", "petro_r90"),  # the Petrosian 90 % radius
}
CROPPING = ("radius", "pixel_scale")  # what cropping by angle takes
MAX_LISTED = 12  # columns that a message lists


def column_flag(meaning: str) -> str:
    """The flag that names a column."""
    return f"--{meaning.replace('_', '-')}-column"


def chosen_tables(parts: list[Part], table: str | None, path: Path) -> list[Part]:
    """Those of that name, or the one of that number from 1; all where None. UserError where there is none."""
    if table is None:
        return parts
    by_number = [parts[int(table) - 1]] if table.isdecimal() and 0 < int(table) <= len(parts) else []
    found = [part for part in parts if part.name.casefold() == table.strip().casefold()] or by_number
    if not found:
        raise UserError(f"--table {table}: {path} has no such table, only {', '.join(map(_title, parts, count(1)))}")
    return found


def match_columns(parts: list[Part], chosen: dict[str, str], path: Path) -> tuple[Part, dict[str, str]]:
    """(the first table with a column of ids, its columns by what they mean); UserError where none has it.

    `chosen` says which column is which, where that is not by a usual name.
    """
    found = [(part, _meant(part.columns, chosen, path)) for part in parts]
    part, columns = next(((part, columns) for part, columns in found if "id" in columns), found[0])
    listed = "; ".join(_short(part.columns) for part in parts)
    for meaning, name in chosen.items():
        if meaning not in columns:
            raise UserError(f"{path} has no column {name!r} ({column_flag(meaning)}), only {listed}")
    if "id" not in columns:
        raise UserError(
            f"{path}: no column of ids, such as {', '.join(NAMES['id'][:4])}, among {listed}: name it by --id-column"
        )
    return part, columns


def describe_columns(part: Part, columns: dict[str, str], units: dict[str, str], kept: list[str]) -> str:
    """Which columns are used for what, from which units, which are kept and which ignored, in one line."""
    table = f"table {part.name}: " if part.name else ""
    told = {meaning: f" ({HOURS.get(unit, unit)})" for meaning, unit in units.items() if unit}
    meant = ", ".join(f"{meaning} = {name}{told.get(meaning, '')}" for meaning, name in columns.items())
    ignored = [name for name in part.columns if name not in (*columns.values(), *kept)]
    also = {"kept": kept, "ignored": ignored}
    return f"{table}columns {meant}" + "".join(f"; {what}: {_short(names)}" for what, names in also.items() if names)


def describe_coordinates(part: Part, columns: dict[str, str]) -> str:
    """That one coordinate was found without the other, in one line; empty where both were, or none."""
    found = [what for what in COORDINATES if what in columns]
    if len(found) != 1:
        return ""
    other = next(what for what in COORDINATES if what not in columns)
    rest = [name for name in part.columns if name not in columns.values()]
    hint = f": {column_flag(other)} names it among {_short(rest)}" if rest else ""
    return f"{columns[found[0]]!r} is {found[0]}, and no column goes by a usual name of {other}{hint}"


def describe_tables(part: Part, parts: list[Part]) -> str:
    """Which other tables a file has, in one line; empty where it has none."""
    titles = {id(part): _title(part, i) for i, part in enumerate(parts, 1)}
    others = [f"{titles[id(other)]} ({len(other.columns)} columns)" for other in parts if other is not part]
    return f"{titles[id(part)]} is taken, not {', '.join(others)}: --table NAME takes another" if others else ""


def _title(part: Part, number: int) -> str:
    return f"table {number}" + (f" {part.name}" if part.name else "")


def require_images(columns: dict[str, str], path: Path, *, elsewhere: bool) -> None:
    """UserError where there is neither a column of images nor --images."""
    if "image" not in columns and not elsewhere:
        raise UserError(f"{path} names no images: say where they lie, --images, or in which column, --image-column")


def require_cropping(columns: dict[str, str], path: Path, *, own_scale: bool) -> None:
    """UserError where there is one of the two columns for cropping; a radius will do where images have `own_scale`s."""
    half = [meaning for meaning in CROPPING if meaning in columns]
    if half == ["radius"] and own_scale:
        return
    if len(half) == 1:
        lacks = next(meaning for meaning in CROPPING if meaning not in columns)
        raise UserError(
            f"{path}: to crop by angle takes two columns, radius (Petrosian 90 %) and pixel_scale, or FITS images "
            f"whose own WCS tells that scale; there is {columns[half[0]]!r} only: name the other by "
            f"{column_flag(lacks)}, or take images as they are by --whole-images"
        )


def _short(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(name.strip() or "''" for name in names[:MAX_LISTED]) + more


def _meant(columns: list[str], chosen: dict[str, str], path: Path) -> dict[str, str]:
    found = {}
    for meaning, usual in NAMES.items():
        names = [chosen[meaning]] if meaning in chosen else usual
        matches = next((same for name in names if (same := _same(columns, name))), [])
        if not matches and meaning in CROPPING and meaning not in chosen:
            matches = [column for column in columns if without_unit(column).strip().casefold() in names]
        if len(matches) > 1:
            raise UserError(
                f"{path}: columns {' and '.join(map(repr, matches))} both mean {meaning} by name: rename one, or "
                f"choose by {column_flag(meaning)}"
            )
        if matches:
            found[meaning] = matches[0]
    return found


def _same(columns: list[str], name: str) -> list[str]:
    """The columns of that name: as it is written, else whatever the case and the blanks around it."""
    exact = [column for column in columns if column == name]
    return exact or [column for column in columns if column.strip().casefold() == name.strip().casefold()]
