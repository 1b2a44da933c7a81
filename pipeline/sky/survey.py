"""Many galaxies -> the competition's own files: zipped images, labels and the sample submission.

Galaxy i of a survey depends on the seed and on i alone, so the files are the same bytes however many workers
draw them.
"""

import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from pipeline.core import machine
from pipeline.plans.label_schemas import galaxy_zoo_2
from pipeline.sky import camera
from pipeline.sky.galaxy import Galaxy, sample
from pipeline.sky.render import render
from pipeline.sky.votes import vote

CHUNK = 32  # galaxies a worker draws at a time
BYTES_PER_GALAXY = 15_000  # of disk that a galaxy takes
IDS = (100_000, 1_000_000)  # six digits, as in the competition
TIMESTAMP = (2013, 12, 20, 0, 0, 0)  # every file's time stamp: the clock must not change the bytes


def draw(
    folder: Path, *, n_train: int, n_test: int, seed: int, workers: int | None = None, progress: bool = True
) -> None:
    """Write a synthetic competition into `folder`, as Kaggle would have it downloaded.

    `images_{training,test}_rev1.zip`, `training_solutions_rev1.zip` and `all_zeros_benchmark.zip`, and beside
    them `sky_test_solutions.csv`, the test labels that the competition keeps back. A file appears when it is
    whole. `workers` processes draw (default: one per core). Raises ValueError for impossible numbers.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    train, test = draw_ids(n_train, n_test, seed)
    with (
        _pool(workers, n_train + n_test) as mapped,
        tqdm(total=n_train + n_test, unit="galaxy", disable=not progress) as bar,
    ):
        labels = []
        for name, ids, first in (("images_training_rev1", train, 0), ("images_test_rev1", test, n_train)):
            galaxies = _observed(mapped, seed, range(first, first + len(ids)))
            labels.append(_write_images(folder / f"{name}.zip", ids, galaxies, bar))
    _write_csv(folder / "training_solutions_rev1.zip", train, labels[0])
    _write_csv(folder / "all_zeros_benchmark.zip", test, np.zeros((n_test, len(galaxy_zoo_2().columns)), int))
    _write_csv(folder / "sky_test_solutions.csv", test, labels[1])


def observe(seed: int, index: int) -> tuple[Galaxy, np.ndarray, np.random.Generator]:
    """Galaxy `index` of a survey, its (37,) vote fractions, and the generator that draws its picture."""
    rng = _generator(seed, index + 1)
    galaxy = sample(rng)
    return galaxy, vote(galaxy, rng), rng


def draw_ids(n_train: int, n_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ascending six-digit GalaxyIDs, (n_train,) and (n_test,), all different."""
    room = IDS[1] - IDS[0]
    if min(n_train, n_test) < 0 or n_train + n_test > room:
        raise ValueError(f"Expected 0 to {room} galaxies in all. Received: {n_train=}, {n_test=}")
    ids = IDS[0] + _generator(seed, 0).choice(room, n_train + n_test, replace=False)
    return np.sort(ids[:n_train]), np.sort(ids[n_train:])


def contact_sheet(images: list[np.ndarray], columns: int) -> np.ndarray:
    """Images of one shape (h, w, 3), in rows of `columns`; the last row is filled up with black."""
    missing = -len(images) % columns
    tiles = [*images, *[np.zeros_like(images[0])] * missing]
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, stream))))


def _draw_chunk(seed: int, indices: range) -> list[tuple[bytes, np.ndarray]]:
    """(JPEG, vote fractions) of some galaxies: the work of one worker at a time."""
    drawn = []
    for index in indices:
        galaxy, fractions, rng = observe(seed, index)
        drawn.append((camera.to_jpeg(render(galaxy, rng)), fractions))
    return drawn


@contextmanager
def _pool(workers: int | None, galaxies: int) -> Iterator[Callable]:
    """A `map` that keeps order: in this process where one worker is enough, otherwise in several.

    Fresh processes (spawn), because a fork of a process that runs TensorFlow's threads may hang; in each
    OpenCV gets one thread, because the processes are the parallelism.
    """
    workers = min(workers or machine.cores(), -(-galaxies // CHUNK))
    if workers <= 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _observed(mapped: Callable, seed: int, indices: range) -> Iterable[tuple[bytes, np.ndarray]]:
    chunks = [indices[i : i + CHUNK] for i in range(0, len(indices), CHUNK)]
    return chain.from_iterable(mapped(partial(_draw_chunk, seed), chunks))


def _write_images(path: Path, ids: np.ndarray, galaxies: Iterable[tuple[bytes, np.ndarray]], bar: tqdm) -> np.ndarray:
    """Write <stem>/<GalaxyID>.jpg into a zip file and return the labels, (n, 37)."""
    labels = np.empty((len(ids), len(galaxy_zoo_2().columns)))
    with _whole(path) as part, zipfile.ZipFile(part, "w") as archive:
        for row, (galaxy_id, (jpeg, fractions)) in enumerate(zip(ids, galaxies, strict=True)):
            archive.writestr(zipfile.ZipInfo(f"{path.stem}/{galaxy_id}.jpg", TIMESTAMP), jpeg)
            labels[row] = fractions
            bar.update()
    return labels


def _write_csv(path: Path, ids: np.ndarray, values: np.ndarray) -> None:
    """Write GalaxyID and the 37 columns with all their digits, as <stem>.csv inside a zip where `path` ends so."""
    rows = [
        ("GalaxyID", *galaxy_zoo_2().columns),
        *((i, *row) for i, row in zip(ids.tolist(), values.tolist(), strict=True)),
    ]
    text = "".join(",".join(map(str, row)) + "\n" for row in rows)
    with _whole(path) as part:
        if path.suffix == ".zip":
            with zipfile.ZipFile(part, "w") as archive:
                archive.writestr(zipfile.ZipInfo(f"{path.stem}.csv", TIMESTAMP), text, zipfile.ZIP_DEFLATED)
        else:
            part.write_text(text)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the final name if, and only if, the block succeeds."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
