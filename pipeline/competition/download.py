"""Download of the competition's files from Kaggle, verified and resumable."""

import logging
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pipeline.competition import kaggle_client, source_files
from pipeline.competition.source_files import FILE_NAMES, SLUG
from pipeline.errors import UserError
from pipeline.execution import locks

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

log = logging.getLogger(__name__)
PARTIAL = ".download"  # folder within DIR for incomplete downloads
PAGE_SIZE = 100  # files that Kaggle lists at once


def list_files(api: "KaggleApi") -> dict[str, int]:
    """Name and bytes of every file of the competition."""
    found, token = {}, None
    while True:
        answer = api.competition_list_files(SLUG, page_token=token, page_size=PAGE_SIZE)
        found |= {file.name: file.total_bytes for file in answer.files}
        token = answer.next_page_token
        if not token:
            return found


def choose_files(found: dict[str, int]) -> dict[str, str]:
    """kind -> the file to fetch; UserError where the competition has none of some kind."""
    by_stem = {Path(name).stem.lower(): name for name in found if Path(name).suffix in (".zip", ".csv")}
    chosen = {
        kind: next((by_stem[name] for name in names if name in by_stem), None) for kind, names in FILE_NAMES.items()
    }
    if missing := [kind for kind, name in chosen.items() if name is None]:
        raise UserError(
            f"Kaggle lists no file for {', '.join(missing)} in {SLUG}, only {', '.join(sorted(found)) or 'nothing'}: "
            f"download by hand from {source_files.DATA_PAGE}"
        )
    return chosen


def fetch(api: "KaggleApi", name: str, size: int, folder: Path) -> None:
    """Download one file to `folder` and verify it; resumes an incomplete download."""
    partial, target = folder / PARTIAL, folder / Path(name).name
    log.info("%-10s %s, %.0f MB", "download", name, size / 1e6)
    with kaggle_client.errors_as_sentences(f"downloading {name}"):
        try:
            api.competition_download_file(SLUG, name, path=str(partial), quiet=False)
        except ValueError as error:
            raise UserError(
                f"downloading {name}: the download is incomplete ({error}); {kaggle_client.RESUMES}"
            ) from None
    path = partial / target.name
    verify(path, size)
    path.replace(target)
    if target.suffix == ".zip":
        with zipfile.ZipFile(target) as file:
            count = sum(not member.is_dir() for member in file.infolist())
        log.info("%-10s %s is whole: %s", "download", name, f"{count:,} files" if count != 1 else "1 file")


def verify(path: Path, size: int) -> None:
    """Raises UserError, and deletes the file, where its size differs from Kaggle's or its checksums fail."""
    why = None if path.stat().st_size == size else f"has {path.stat().st_size:,} bytes, Kaggle lists {size:,}"
    if why is None and path.suffix == ".zip":
        try:
            with zipfile.ZipFile(path) as file:
                members = tqdm(file.infolist(), desc=f"checking {path.name}", unit="file", leave=False)
                why = next((f"holds a damaged {m.filename}" for m in members if _is_damaged(file, m)), None)
        except zipfile.BadZipFile:
            why = "is no whole zip file"
    if why:
        path.unlink()
        raise UserError(f"{path.name} {why}; it was deleted: the same command downloads it again")


def _is_damaged(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Whether a member's checksum fails."""
    try:
        with file.open(member) as opened:
            while opened.read(1 << 20):
                pass
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError):
        return True
    return False


def fetch_missing(folder: Path) -> None:
    """Download the files that are missing from `folder`; UserError where that fails or the disk is too small."""
    folder = folder.expanduser().resolve()
    try:
        files = source_files.find(folder)
    except UserError:
        pass
    else:
        log.info("%-10s the files are there already: %s", "download", files.train.parent)
        return
    partial = folder / PARTIAL
    partial.mkdir(parents=True, exist_ok=True)
    with locks.holding(partial / "lock"):
        _fetch_missing(folder)
    if partial.is_dir() and not any(partial.iterdir()):
        partial.rmdir()


def _fetch_missing(folder: Path) -> None:
    api = kaggle_client.client()
    with kaggle_client.errors_as_sentences("listing the competition's files"):
        sizes = list_files(api)
    missing = [name for name in choose_files(sizes).values() if not (folder / Path(name).name).is_file()]
    _require_space(folder, sum(sizes[name] for name in missing))
    for name in missing:
        fetch(api, name, sizes[name], folder)
    shutil.rmtree(folder / PARTIAL)
    log.info("%-10s complete: %s", "download", folder)


def _require_space(folder: Path, need: int) -> None:
    """UserError where the downloads do not fit on the disk; incomplete downloads count as free space."""
    there = sum(path.stat().st_size for path in (folder / PARTIAL).iterdir())
    free = shutil.disk_usage(folder).free + there
    if need > free:
        raise UserError(f"the files take {need / 1e9:.2f} GB and {folder} has {free / 1e9:.2f} GB free: make room")
