"""Recognition of a catalogue's columns by their names: id, ra, dec, image, pixel scale, radius."""

from pathlib import Path

from pipeline.catalogue.readers.part import Part
from pipeline.errors import UserError

NAMES = {  # what a column means -> names that it goes by, lower-case, the likeliest first
    "id": (
        *("id", "galaxyid", "galaxy_id", "objid", "obj_id", "object_id", "source_id", "dr8objid", "dr8_id", "dr7objid"),
        *("specobjid", "iauname", "iau_name", "id_str", "name", "__index_level_0__"),  # the last: an index of pandas
    ),
    "ra": ("ra", "ra_deg", "raj2000", "_ra", "_raj2000"),
    "dec": ("dec", "dec_deg", "dej2000", "decj2000", "_de", "_dej2000"),
    "image": ("image", "path", "file", "filename", "file_loc", "url", "jpg_url", "cutout"),
    "pixel_scale": ("pixel_scale", "pixscale"),  # of the image
    "radius": ("radius", "petror90", "petror90_r", "petro_r90"),  # the Petrosian 90 % radius
}
CROPPING = ("radius", "pixel_scale")  # what cropping by angle takes
MAX_LISTED = 12  # columns that a message lists


def column_flag(meaning: str) -> str:
    """The flag that names a column."""
    return f"--{meaning.replace('_', '-')}-column"


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


def describe_columns(part: Part, columns: dict[str, str]) -> str:
    """Which columns are used for what, and which are ignored, in one line."""
    table = f"table {part.name}: " if part.name else ""
    meant = ", ".join(f"{meaning} = {name}" for meaning, name in columns.items())
    ignored = [name for name in part.columns if name not in columns.values()]
    return f"{table}columns {meant}" + (f"; ignored: {_short(ignored)}" if ignored else "")


def require_columns(columns: dict[str, str], path: Path, *, images_elsewhere: bool) -> None:
    """UserError where there is neither a column of images nor --images, or one of the two columns for cropping."""
    if "image" not in columns and not images_elsewhere:
        raise UserError(f"{path} names no images: say where they lie, --images, or in which column, --image-column")
    half = [meaning for meaning in CROPPING if meaning in columns]
    if len(half) == 1:
        lacks = next(meaning for meaning in CROPPING if meaning not in columns)
        raise UserError(
            f"{path}: to crop by angle takes two columns, radius (Petrosian 90 %) and pixel_scale, both in arcseconds; "
            f"there is {columns[half[0]]!r} only: name the other by {column_flag(lacks)}, or take images as they are "
            f"by --whole-images"
        )


def _short(names: list[str]) -> str:
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(name.strip() or "''" for name in names[:MAX_LISTED]) + more


def _meant(columns: list[str], chosen: dict[str, str], path: Path) -> dict[str, str]:
    found = {}
    for meaning, usual in NAMES.items():
        names = [chosen[meaning]] if meaning in chosen else usual
        matches = next((same for name in names if (same := _same(columns, name))), [])
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
