"""Go on from what an earlier session, on another machine perhaps, has left of a plan's output."""

import logging
import shutil
from pathlib import Path

from tqdm import tqdm

from pipeline.errors import UserError
from pipeline.store.artifacts import Store

log = logging.getLogger(__name__)


def find(folder: Path, plan: str) -> Path | None:
    """The output of a plan in `folder`: that folder itself, or PLAN or output/PLAN in it; None where it is not there.

    What is only half made counts: inputs/inputs.json is what every output begins with.
    """
    places = (folder / "output" / plan, folder / plan, folder)
    return next((place for place in places if Store(place).inputs().record_path.is_file()), None)


def resume(folder: Path, plan: str, store: Store) -> None:
    """Copy the earlier output to where the plan writes, whole or not at all; nothing where that has begun already.

    Locks and temporary files stay behind. UserError where `folder` holds no output of the plan, or there is no room.
    """
    found = find(folder.expanduser(), plan)
    if found is None:
        raise UserError(
            f"--resume-from {folder}: no output of plan {plan} there; expected {Store(Path(plan)).inputs().record_path}"
            f" in it, or in its folder output"
        )
    if store.inputs().record_path.is_file():
        log.info("%-10s %s has begun already: it goes on, and %s is left alone", "resume", store.root, found)
        return
    if store.root.exists() and any(store.root.iterdir()):
        raise UserError(f"--resume-from {folder}: {store.root} holds other files: delete it, or choose an --output")
    copy(found, store)


def copy(found: Path, store: Store) -> None:
    """Copy every file but hidden ones to a temporary folder, and give that the store's name."""
    files = [path for path in sorted(found.rglob("*")) if path.is_file() and not _hidden(path.relative_to(found))]
    total = sum(path.stat().st_size for path in files)
    store.require_space(total, f"the files of {found}")
    temporary = store.root.with_name(f".{store.root.name}.resumed")
    shutil.rmtree(temporary, ignore_errors=True)
    with tqdm(total=total, desc=f"resume {store.root.name}", unit="B", unit_scale=True, leave=False) as bar:
        for path in files:
            to = temporary / path.relative_to(found)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)  # without its mode: what Kaggle lends may not be written to
            bar.update(path.stat().st_size)
    if store.root.exists():
        store.root.rmdir()
    temporary.rename(store.root)
    log.info("%-10s %d files, %.0f MB from %s", "resume", len(files), total / 1e6, found)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
