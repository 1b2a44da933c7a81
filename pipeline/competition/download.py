"""The competition's files from Kaggle, checked; what has come stays when it is interrupted."""

import logging
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pipeline.competition import kaggle_client, source_files
from pipeline.competition.source_files import SLUG, SPELLINGS
from pipeline.errors import UserError
from pipeline.execution import locks

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

log = logging.getLogger(__name__)
PARTIAL = ".download"  # folder within DIR of what has not come whole
PAGE = 100  # files that Kaggle lists at once


def listed(api: "KaggleApi") -> dict[str, int]:
    """Name and bytes of every file of the competition."""
    found, token = {}, None
    while True:
        answer = api.competition_list_files(SLUG, page_token=token, page_size=PAGE)
        found |= {file.name: file.total_bytes for file in answer.files}
        token = answer.next_page_token
        if not token:
            return found


def choose(found: dict[str, int]) -> dict[str, str]:
    """kind -> the file to fetch; UserError where the competition has none of some kind."""
    by_stem = {Path(name).stem.lower(): name for name in found if Path(name).suffix in (".zip", ".csv")}
    chosen = {
        kind: next((by_stem[name] for name in names if name in by_stem), None) for kind, names in SPELLINGS.items()
    }
    if missing := [kind for kind, name in chosen.items() if name is None]:
        raise UserError(
            f"Kaggle lists no file for {', '.join(missing)} in {SLUG}, only {', '.join(sorted(found)) or 'nothing'}: "
            f"download by hand from {source_files.PAGE}"
        )
    return chosen


def fetch(api: "KaggleApi", name: str, size: int, folder: Path) -> None:
    """Bring one file to `folder`, whole and checked, going on where an earlier try stopped."""
    partial, target = folder / PARTIAL, folder / Path(name).name
    log.info("%-10s %s, %.0f MB", "download", name, size / 1e6)
    with kaggle_client.told(f"downloading {name}"):
        try:
            api.competition_download_file(SLUG, name, path=str(partial), quiet=False)
        except ValueError as error:
            raise UserError(f"downloading {name}: it came incomplete ({error}); {kaggle_client.AGAIN}") from None
    path = partial / target.name
    check(path, size)
    path.replace(target)
    if target.suffix == ".zip":
        with zipfile.ZipFile(target) as file:
            count = sum(not member.is_dir() for member in file.infolist())
        log.info("%-10s %s is whole: %s", "download", name, f"{count:,} files" if count != 1 else "1 file")


def check(path: Path, size: int) -> None:
    """UserError, and the file is gone, where it has not the bytes that Kaggle lists or its checksums do not hold."""
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
        raise UserError(f"{path.name} {why}; it is thrown away: the same command downloads it again")


def _is_damaged(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Whether a member's bytes are not those of its checksum."""
    try:
        with file.open(member) as opened:
            while opened.read(1 << 20):
                pass
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError):
        return True
    return False


def fetch_missing(folder: Path) -> None:
    """Bring the files that are not in `folder` yet; UserError where they cannot be had, or there is no room."""
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
    with kaggle_client.told("listing the competition's files"):
        sizes = listed(api)
    wanted = [name for name in choose(sizes).values() if not (folder / Path(name).name).is_file()]
    _require_space(folder, sum(sizes[name] for name in wanted))
    for name in wanted:
        fetch(api, name, sizes[name], folder)
    shutil.rmtree(folder / PARTIAL)
    log.info("%-10s complete: %s", "download", folder)


def _require_space(folder: Path, need: int) -> None:
    """UserError where what is to come does not fit; what has come in part counts as free."""
    there = sum(path.stat().st_size for path in (folder / PARTIAL).iterdir())
    free = shutil.disk_usage(folder).free + there
    if need > free:
        raise UserError(f"the files take {need / 1e9:.2f} GB and {folder} has {free / 1e9:.2f} GB free: make room")
