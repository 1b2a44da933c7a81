"""Stage 2 of 8: the central part of every image as one array per crop spec and split.

reads   the competition's images where stage 0 found them, inputs/labels.parquet, inputs/sample.csv
writes  crops/<crop>/{train,test}.npy uint8 (n, size, size, 3) RGB, {train,test}.ids.npy int64 (n,), ascending

Every image is read and decoded once for all crops that are missing. Interrupted, the same command goes on after
the last 2,048 finished rows. An image that cannot be used stops the stage or, where the plan says
corrupt_images = "set-aside", leaves its row 0 and its id in the record's `set_aside`.

    python -m pipeline.crops --plan demo
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from pipeline import cli, competition, cutout, units
from pipeline.artifacts import Store, atomic, save_json
from pipeline.competition import Images
from pipeline.config import Crop, Plan
from pipeline.errors import DamagedImage, UserError
from pipeline.units import Unit

log = logging.getLogger(__name__)
CHUNK = 2048  # rows between two flushes: what an interruption costs at most
PIECE = 32  # rows of one task of a thread
SPARE = 1 << 26  # bytes to leave free on the disk
MANY = 10_000  # images from which on it is said beforehand what they will take


class Partial:
    """One array in the making: rows up to `done` are on disk, and a small record beside it says so.

    A partial of another spec or of other inputs is thrown away, as is one that --force finds.
    """

    def __init__(self, unit: Unit, ids: np.ndarray):
        self.unit, self.ids = unit, ids
        self.crop = Crop(region=unit.spec["region"], size=unit.spec["size"])
        self.final, self.ids_path = unit.artifact.files
        self.path = self.final.with_name(f".{self.final.name}.partial")
        self.progress_path = self.final.with_name(f".{self.final.stem}.progress.json")
        self.shape = (len(ids), self.crop.size, self.crop.size, 3)
        self.key = {"spec": unit.spec, "made_from": unit.made_from(), "shape": list(self.shape)}
        self.done = 0
        self.damaged: dict[int, str] = {}  # row -> why
        self.array: np.ndarray | None = None

    def missing_bytes(self) -> int:
        """Bytes of disk that the array still needs."""
        there = self.path.stat().st_blocks * 512 if self.path.exists() else 0
        return max(0, int(np.prod(self.shape)) - there)

    def open(self) -> None:
        """Go on where an earlier call was interrupted, else begin; withdraws a record."""
        complete = self.unit.artifact.record() is not None  # and made anew, by --force or since it is outdated
        self.unit.artifact.begin()
        if complete or not self._resume():
            self.progress_path.unlink(missing_ok=True)
            self.array = np.lib.format.open_memmap(self.path, mode="w+", dtype=np.uint8, shape=self.shape)
            _reserve(self.path)

    def _resume(self) -> bool:
        try:
            progress = json.loads(self.progress_path.read_text(encoding="utf-8"))
            if progress["key"] != self.key:
                return False
            if not self.path.exists():  # killed between the renaming and the record
                os.replace(self.final, self.path)
            array = np.lib.format.open_memmap(self.path, mode="r+")
        except (OSError, ValueError, KeyError):
            return False
        if array.shape != self.shape or array.dtype != np.uint8:
            return False
        self.array, self.done = array, progress["done"]
        self.damaged = {int(row): why for row, why in progress["damaged"].items()}
        return True

    def advance(self, done: int, damaged: dict[int, str]) -> None:
        """Rows up to `done` are written: put them on disk, let go of their memory, then say so."""
        self.array.flush()
        self.array = np.lib.format.open_memmap(self.path, mode="r+")
        self.done, self.damaged = done, self.damaged | damaged
        save_json(self.progress_path, {"key": self.key, "done": done, "damaged": self.damaged})

    def finish(self, **facts: Any) -> None:
        """Give the files their names and write the record."""
        self.array = None  # unmaps
        with atomic(self.ids_path) as temporary:
            np.save(temporary, self.ids)
        os.replace(self.path, self.final)
        set_aside = [int(self.ids[row]) for row in sorted(self.damaged)]
        self.unit.finish(n=len(self.ids), set_aside=set_aside, **facts)
        self.progress_path.unlink(missing_ok=True)


def _reserve(path: Path) -> None:
    """Take the file's room now: a full disk is an error here, but kills a process that writes to mapped memory."""
    if hasattr(os, "posix_fallocate"):
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def cut_rows(images: Images, rows: range | list[int], parts: list[Partial]) -> dict[int, str]:
    """Write some rows of the arrays of `parts`; {row: why} of those that could not be made and are 0."""
    damaged = {}
    ids = parts[0].ids
    for row in rows:
        try:
            made = cutout.cut(images.read(ids[row]), [part.crop for part in parts])
        except DamagedImage as error:
            made, damaged[row] = [np.uint8(0)] * len(parts), str(error)
        for part, pixels in zip(parts, made, strict=True):
            part.array[row] = pixels
    return damaged


def fill(images: Images, parts: list[Partial], progress: Callable[[int], Any] = lambda _: None) -> int:
    """Make all missing rows of the arrays, each image decoded once, one thread a core; how many images that were.

    OpenCV and reading let other threads run, and rows do not overlap, so threads write straight into the files.
    """
    n, first = len(parts[0].ids), min(part.done for part in parts)
    cv2.setNumThreads(1)  # the images are the parallelism
    for part in parts:  # an image may have been mended since
        retry, part.damaged = sorted(part.damaged), {}
        if retry:
            part.advance(part.done, cut_rows(images, retry, [part]))
    progress(first)
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(first, n, CHUNK):
            rows, active = range(n)[start : start + CHUNK], [part for part in parts if part.done <= start]
            pieces = [rows[i : i + PIECE] for i in range(0, len(rows), PIECE)]
            damaged: dict[int, str] = {}
            for piece, found in zip(pieces, pool.map(partial(cut_rows, images, parts=active), pieces), strict=True):
                damaged |= found
                progress(len(piece))
            for part in active:
                part.advance(rows.stop, damaged)
    return n - first


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def forecast(images: Images, parts: list[Partial]) -> float:
    """Seconds that the missing rows will take, from every n-th image of 64 cut on one thread."""
    ids, done = parts[0].ids, min(part.done for part in parts)
    few = ids[:: max(1, len(ids) // 64)]
    began = time.perf_counter()
    for galaxy_id in few:
        with suppress(DamagedImage):
            cutout.cut(images.read(galaxy_id), [part.crop for part in parts])
    return (time.perf_counter() - began) * (len(ids) - done) / len(few) / cores()


def open_images(store: Store, split: str) -> Images:
    """The raw images of a split; UserError where they are gone or are not those that stage 0 checked."""
    record = store.inputs().record()
    folder = store.root / record["folder"]
    if not folder.is_dir():
        raise UserError(
            f"the competition's files are no longer in {folder}: say where they are by "
            f"`python -m pipeline.inputs --plan {store.root.name} --input DIR`"
        )
    images = Images(getattr(competition.find(folder), split))
    if images.fingerprint() != record["spec"][split]:
        images.close()
        raise UserError(
            f"{images.path} has changed since it was checked: check it anew by "
            f"`python -m pipeline.inputs --plan {store.root.name}`"
        )
    return images


def make(store: Store, split: str, parts: list[Partial], stop: bool) -> dict[int, str]:
    """Make the arrays of one split; {id: why} of the images that could not be used."""
    began = time.perf_counter()
    for part in parts:
        part.open()
    names = ", ".join(part.unit.label for part in parts)
    with open_images(store, split) as images, tqdm(total=len(images), desc=split, unit="image", disable=None) as bar:
        if len(images) >= MANY:
            size, hours = sum(part.array.nbytes for part in parts) / 1e9, forecast(images, parts) / 3600
            log.info("%-10s %s: %s images, %.1f GB, about %.2f h", "crops", names, f"{len(images):,}", size, hours)
        made = fill(images, parts, bar.update)
    seconds = time.perf_counter() - began
    rate = round(made / seconds)
    for part in parts:
        if not (stop and part.damaged):
            part.finish(seconds=round(seconds, 2), images_per_second=rate)
    log.info("%-10s %s: %s images in %.1f s (%s a second)", "crops", names, f"{made:,}", seconds, f"{rate:,}")
    return {int(part.ids[row]): why for part in parts for row, why in part.damaged.items()}


def check_disk(root: Path, parts: list[Partial]) -> None:
    """UserError where the arrays will not fit."""
    need = sum(part.missing_bytes() for part in parts)
    free = shutil.disk_usage(root).free
    if need + SPARE > free:
        raise UserError(
            f"the crops need {need / 1e9:.2f} GB and {root} has {free / 1e9:.2f} GB free: make room, choose another "
            f"--output, or give the plan's crops a smaller size"
        )


def check_policy(plan: Plan, store: Store) -> None:
    """UserError where the plan wants no image set aside, and a finished array has some that are."""
    records = {unit.label: unit.artifact.record() or {} for unit in units.crops(plan, store)}
    aside = {label: ids for label, record in records.items() if (ids := record.get("set_aside"))}
    if plan.corrupt_images == "stop" and aside:
        label, ids = next(iter(aside.items()))
        raise UserError(
            f"{label} was made without {len(ids):,} images (such as {ids[:3]}) and the plan now says corrupt_images = "
            f'"stop": put "set-aside" back, or mend them and run `python -m pipeline.crops --plan {plan.name} --force`'
        )


def told(damaged: dict[int, str]) -> str:
    """'3 images cannot be used (100008 is cut short, …)'."""
    first = ", ".join(f"{galaxy_id} {why}" for galaxy_id, why in list(damaged.items())[:3])
    return f"{len(damaged):,} image{'s' if len(damaged) > 1 else ''} cannot be used ({first})"


def main(argv: list[str] | None = None) -> None:
    """Make what is missing, one pass over the images of each split."""
    request = cli.parse(cli.parser(__doc__), argv)
    plan, store = request.plan, request.store
    if not request.options.force:
        check_policy(plan, store)
    wanted = request.to_do(units.crops(plan, store))
    if not wanted:
        return
    ids = {"train": store.load_labels().index.to_numpy(np.int64), "test": np.sort(store.load_sample()[1])}
    parts = [Partial(unit, ids[unit.spec["split"]]) for unit in wanted]
    check_disk(store.root, parts)
    stop, damaged = plan.corrupt_images == "stop", {}
    for split in units.SPLITS:
        if of_split := [part for part in parts if part.unit.spec["split"] == split]:
            damaged |= make(store, split, of_split, stop)
    if damaged and stop:
        raise UserError(
            f'{told(damaged)}. All others are done and kept: set corrupt_images = "set-aside" in the plan to go on '
            f"without them, or put whole files in their place and run stage 0 again"
        )
    if damaged:
        log.warning("%-10s %s; set aside", "crops", told(damaged))


if __name__ == "__main__":
    cli.start(main)
