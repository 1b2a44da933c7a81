"""What lies in a folder of the user's: the table of labels, images to train on and to predict, a sample file."""

from pathlib import Path
from typing import NamedTuple

from pipeline.competition.source_files import FILE_NAMES, is_system_file
from pipeline.errors import UserError

TABLES = (".csv", ".tsv", ".txt", ".csv.gz", ".parquet", ".fits", ".fit", ".vot", ".xml", ".ecsv", ".feather", ".arrow")
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
ARCHIVES = (".zip", ".tar")
NAMES = {  # kind -> names without suffix, the likeliest first
    "labels": ("labels", "train", "training", "catalogue", "catalog"),
    "images": ("images", "images_train", "images_training", "train", "training"),
    "test": ("test", "test_images", "images_test"),
    "sample": ("sample_submission", "sample", "all_zeros_benchmark"),
}


class Spreadsheet(UserError):
    """The labels are in a spreadsheet."""


class Folder(NamedTuple):
    """The user's files; None where one is not there."""

    place: Path
    labels: Path | None
    images: Path | None
    test: Path | None
    sample: Path | None


def find(folder: Path, *, needs_table: bool = True) -> Folder:
    """The files in a folder; UserError where there is no table of labels that is needed, or no telling which it is."""
    if not folder.is_dir():
        what = f"{folder} is a file" if folder.is_file() else f"there is no folder {folder}"
        raise UserError(f"{what}: --input names the folder of labels.csv and its images")
    entries = [entry for entry in sorted(folder.iterdir()) if not is_system_file(entry.name)]
    tables = {name: e for e in entries if e.is_file() and (name := _stem(e, TABLES))}
    places = {e.name.lower(): e for e in entries if e.is_dir()}
    places |= {name: e for e in entries if e.is_file() and (name := _stem(e, ARCHIVES))}
    sample = _pick(tables, "sample")
    others = {name: path for name, path in tables.items() if path != sample}
    labels = _pick(others, "labels") or (next(iter(others.values())) if len(others) == 1 else None)
    if labels is None and (sheet := _spreadsheet(entries, places)):
        raise Spreadsheet(f"{sheet} is a spreadsheet: save it as CSV, {sheet.with_suffix('.csv').name}, beside it")
    if labels is None and (needs_table or others):
        found = ", ".join(path.name for path in others.values()) or "none"
        raise UserError(
            f"{folder}: expected a table of labels, such as labels.csv or labels.parquet, and its images in images/, "
            f"images.zip or images.tar; the tables there: {found}. "
            f"Say where they are by --input DIR; `./run.sh label --plan PLAN --input DIR` asks people for labels of "
            f"images, and has no complete answer so far (answers given under another plan lie in its output's "
            f"answers/: copy that folder into this plan's output)"
        )
    return Folder(folder, labels, _pick(places, "images"), _pick(places, "test"), sample)


def has_labels(folder: Path) -> bool:
    """Whether `find` finds a table of labels there that is not the competition's, some of whose files are missing."""
    try:
        return _stem(find(folder).labels, TABLES) not in FILE_NAMES["labels"]
    except Spreadsheet:
        return True
    except UserError:
        return False


def _spreadsheet(entries: list[Path], places: dict[str, Path]) -> Path | None:
    """A spreadsheet that may hold the labels: by its name, or the only one beside images."""
    sheets = {name: entry for entry in entries if (name := _stem(entry, SPREADSHEETS))}
    only = next(iter(sheets.values())) if len(sheets) == 1 and _pick(places, "images") else None
    return _pick(sheets, "labels") or only


def _stem(path: Path, suffixes: tuple[str, ...]) -> str:
    """The lower-case name of a file without its suffix; "" where that is none of these."""
    name = path.name.lower()
    return next((name.removesuffix(suffix) for suffix in suffixes if name.endswith(suffix)), "")


def _pick(there: dict[str, Path], kind: str) -> Path | None:
    return next((there[name] for name in NAMES[kind] if name in there), None)
