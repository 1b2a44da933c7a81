"""Stage 2 of 9: the central part of every image as one array per crop spec and split.

reads   the competition's images where stage 0 found them, inputs/labels.parquet, inputs/sample.csv
writes  crops/<crop>/{train,test}.npy uint8 (n, size, size, 3) RGB, {train,test}.ids.npy int64 or text (n,), ascending

Every image is read and decoded once for all crops that are missing. Interrupted, the same command resumes after
the last 256 finished rows. An image that cannot be used stops the stage or, where the plan says
corrupt_images = "set-aside", leaves its row 0 and its id in the record's `set_aside`.

    ./run.sh crops --plan demo
"""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from pipeline import cli
from pipeline.competition.image_set import ImageSet
from pipeline.core import machine
from pipeline.errors import DamagedImage, UserError
from pipeline.labelled.source import open_images
from pipeline.plans.config import Plan
from pipeline.plans.crops import Crop
from pipeline.store import dependencies
from pipeline.store.artifacts import Store
from pipeline.store.dependencies import Unit
from pipeline.store.growing_array import GrowingArray
from pipeline.store.label_table import id_array
from pipeline.store.records import atomic

log = logging.getLogger(__name__)
ROWS_PER_FLUSH = 256  # the most that an interruption costs; two chunks fit in the last-level cache
ROWS_PER_TASK = 8  # of one thread
FORECAST_FROM = 10_000  # images from which on a forecast is logged


class PartialCrop:
    """One crop of one split, partly written."""

    def __init__(self, unit: Unit, ids: np.ndarray):
        self.unit, self.ids = unit, ids
        self.crop = Crop.model_validate({key: unit.spec[key] for key in Crop.model_fields if key in unit.spec})
        final, self.ids_path = unit.artifact.files
        shape = (len(ids), self.crop.size, self.crop.size, 3)
        self.file = GrowingArray(final, shape, {"spec": unit.spec, "made_from": unit.made_from()})

    def open(self) -> None:
        """Resume an interrupted call, else begin; deletes the record."""
        complete = self.unit.artifact.exists()  # rebuilt, by --force or since it is outdated
        self.unit.artifact.begin()
        self.file.open(restart=complete)

    def finish(self, **facts: Any) -> None:
        """Rename the files to their final names and write the record."""
        with atomic(self.ids_path) as temporary:
            np.save(temporary, self.ids)
        digest = self.file.finish()
        set_aside = [self.ids[row].item() for row in sorted(self.file.notes)]
        reasons = {str(self.ids[row]): why for row, why in self.file.notes.items()}
        facts |= {"set_aside": set_aside, "reasons": reasons}
        self.unit.finish(n=len(self.ids), digests={self.file.final: digest}, **facts)
        self.file.forget()


def cut_rows(images: ImageSet, ids: np.ndarray, crops: list[Crop], targets: list[np.ndarray]) -> dict[int, str]:
    """Cut images (k,) into one target (k, size, size, 3) a crop; {index: why} of those that cannot be and are 0."""
    damaged = {}
    for i, galaxy_id in enumerate(ids):
        rows = [target[i] for target in targets]
        try:
            images.cut(images.read(galaxy_id), crops, rows)
        except DamagedImage as error:
            damaged[i] = str(error)
            for row in rows:
                row[...] = 0
    return damaged


def retry(images: ImageSet, part: PartialCrop) -> None:
    """Read the damaged images of an earlier call again: they may have been replaced since."""
    rows = sorted(part.file.notes)
    if rows:
        target = np.empty((len(rows), *part.file.shape[1:]), np.uint8)
        damaged = cut_rows(images, part.ids[rows], [part.crop], [target])
        part.file.replace(dict(zip(rows, target, strict=True)), {rows[i]: why for i, why in damaged.items()})


def fill(images: ImageSet, parts: list[PartialCrop], progress: Callable[[int], Any] = lambda _: None) -> int:
    """Make all missing rows of the arrays, each image decoded once, one thread a core; how many images that were.

    OpenCV and reading release the GIL. While a chunk is cut, the one before is hashed and written.
    """
    ids, first = parts[0].ids, min(part.file.done for part in parts)
    cv2.setNumThreads(1)  # one thread an image
    for part in parts:
        retry(images, part)
    progress(first)
    size = min(ROWS_PER_FLUSH, len(ids) - first)
    buffers = [[np.empty((size, *part.file.shape[1:]), np.uint8) for part in parts] for _ in range(2)]
    with ThreadPoolExecutor(machine.cores()) as cutters, ThreadPoolExecutor(1) as writer:
        written = []  # of the previous chunk, whose buffers the next one reuses
        for turn, (start, stop) in enumerate(chunks(first, len(ids), {part.file.done for part in parts})):
            chunk = ids[start:stop]
            missing = [(p, b) for p, b in zip(parts, buffers[turn % 2], strict=True) if p.file.done <= start]
            damaged = cut_chunk(cutters, images, chunk, missing, progress)
            for future in written:
                future.result()
            notes = {start + i: why for i, why in damaged.items()}
            written = [writer.submit(part.file.append, buffer[: len(chunk)], notes) for part, buffer in missing]
        for future in written:
            future.result()
    return len(ids) - first


def chunks(first: int, n: int, marks: set[int]) -> Iterator[tuple[int, int]]:
    """(start, stop) of the chunks from `first` to n; none goes past a mark, where another array joins in."""
    edges = sorted({*range(first, n, ROWS_PER_FLUSH), *(mark for mark in marks if mark > first), n})
    return pairwise(edges)


def cut_chunk(
    cutters: ThreadPoolExecutor,
    images: ImageSet,
    ids: np.ndarray,
    missing: list[tuple[PartialCrop, np.ndarray]],
    progress: Callable[[int], Any],
) -> dict[int, str]:
    """Cut images (k,) into the first k rows of the buffers, on all threads; {index: why} of the damaged ones."""
    crops = [part.crop for part, _ in missing]

    def cut_rows_from(at: int) -> dict[int, str]:
        rows = slice(at, at + ROWS_PER_TASK)
        found = cut_rows(images, ids[rows], crops, [buffer[rows] for _, buffer in missing])
        return {at + i: why for i, why in found.items()}

    damaged: dict[int, str] = {}
    for at, found in zip(starts := range(0, len(ids), ROWS_PER_TASK), cutters.map(cut_rows_from, starts), strict=True):
        damaged |= found
        progress(len(ids[at : at + ROWS_PER_TASK]))
    return damaged


def forecast(images: ImageSet, parts: list[PartialCrop]) -> float:
    """Seconds that the missing rows will take, from every n-th image of 64 cut on one thread."""
    ids, done = parts[0].ids, min(part.file.done for part in parts)
    few = ids[:: max(1, len(ids) // 64)]
    targets = [np.empty((len(few), *part.file.shape[1:]), np.uint8) for part in parts]
    began = time.perf_counter()
    cut_rows(images, few, [part.crop for part in parts], targets)
    return (time.perf_counter() - began) * (len(ids) - done) / len(few) / machine.cores()


def make(store: Store, split: str, parts: list[PartialCrop], stop: bool) -> dict[int, str]:
    """Make the arrays of one split; {id: why} of the images that could not be used."""
    began = time.perf_counter()
    for part in parts:
        part.open()
    names = ", ".join(part.unit.label for part in parts)
    with open_images(store, split) as images, tqdm(total=len(images), desc=split, unit="image", leave=False) as bar:
        if len(images) >= FORECAST_FROM:
            size, hours = sum(np.prod(part.file.shape) for part in parts) / 1e9, forecast(images, parts) / 3600
            log.info("%-10s %s: %s images, %.1f GB, about %.2f h", "crops", names, f"{len(images):,}", size, hours)
        n_made = fill(images, parts, bar.update)
    seconds = time.perf_counter() - began
    rate = round(n_made / seconds)
    for part in parts:
        if not (stop and part.file.notes):
            part.finish(seconds=seconds / len(parts), images_per_second=rate)
    if n_made:
        log.info("%-10s %s: %s images in %.1f s (%s a second)", "crops", names, f"{n_made:,}", seconds, f"{rate:,}")
    return {part.ids[row].item(): why for part in parts for row, why in part.file.notes.items()}


def check_policy(plan: Plan, store: Store) -> None:
    """UserError where the plan sets no image aside, and a finished array has some."""
    records = {unit.label: unit.artifact.record() or {} for unit in dependencies.crops(plan, store)}
    aside = {label: ids for label, record in records.items() if (ids := record.get("set_aside"))}
    if plan.corrupt_images == "stop" and aside:
        label, ids = next(iter(aside.items()))
        raise UserError(
            f"{label} was built without {len(ids):,} images (such as {ids[:3]}) and the plan now says corrupt_images = "
            f'"stop": restore "set-aside", or replace them and run {store.command("crops", "--force")}'
        )


def damage_summary(damaged: dict[int, str]) -> str:
    """'3 images cannot be used (100008 is cut short, …)'."""
    first = ", ".join(f"{galaxy_id} {why}" for galaxy_id, why in list(damaged.items())[:3])
    return f"{len(damaged):,} image{'s' if len(damaged) > 1 else ''} cannot be used ({first})"


def main(argv: list[str] | None = None) -> None:
    """Build the missing crops in one pass over the images of each split."""
    request = cli.parse(cli.parser(__doc__), argv)
    plan, store = request.plan, request.store
    if not request.options.force:
        check_policy(plan, store)
    missing = request.to_do(dependencies.crops(plan, store))
    if not missing:
        return
    ids = {"train": id_array(store.load_labels().index), "test": np.sort(id_array(store.load_sample()[1]))}
    parts = [PartialCrop(unit, ids[unit.spec["split"]]) for unit in missing]
    store.require_space(sum(part.file.missing_bytes() for part in parts), "the crops")
    stop, damaged = plan.corrupt_images == "stop", {}
    for split in dependencies.SPLITS:
        if of_split := [part for part in parts if part.unit.spec["split"] == split]:
            damaged |= make(store, split, of_split, stop)
    if damaged and stop:
        raise UserError(
            f'{damage_summary(damaged)}. All others are done and kept: set corrupt_images = "set-aside" in the plan to '
            "continue without them, or replace them by intact files and run stage 0 again"
        )
    if damaged:
        log.warning("%-10s %s; set aside", "crops", damage_summary(damaged))
