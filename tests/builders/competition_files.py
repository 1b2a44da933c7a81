"""A competition in miniature, for tests: hand-drawn galaxies in the layout of Kaggle's files."""

import zipfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pipeline.core import tree
from tests.builders.galaxy_zoo_2 import GZ2

TRAIN, TEST = (100023, 100008, 100053, 987654, 100078, 200001), (300002, 300001, 300010)
PLAN = """
seed = 1
folds = 2
{more}
[crops.half]
region = 256
size = 128
{crops}
[[runs]]
name = "vgg16"
backbone = "vgg16"
crop = "half"
on_missing_weights = "random"
head_phase = {{ epochs = 1 }}
[[ensembles]]
name = "final"
runs = ["vgg16"]
"""


def plan(folder: Path, *, more: str = "", crops: str = "") -> list[str]:
    """Write a plan named `tiny` and return the flags that choose it and an output folder beside it."""
    path = folder / "tiny.toml"
    path.write_text(PLAN.format(more=more, crops=crops))
    return ["--plan", str(path), "--output", str(folder / "output")]


def galaxy(seed: int, side: int = 424) -> np.ndarray:
    """A soft coloured ellipse on a noisy sky: uint8 (side, side, 3) BGR."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    tilt, width = rng.uniform(0, np.pi), side * rng.uniform(0.06, 0.15)
    along, across = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    light = np.exp(-np.hypot(along, 2 * across) / width)[..., None] * rng.uniform(150, 240, 3)
    return np.clip(light + rng.normal(8, 3, (side, side, 1)), 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    """The JPEG of an image (BGR or grey)."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def labels(ids: tuple[int, ...] = TRAIN) -> pd.DataFrame:
    """Vote fractions on which every sum holds."""
    values = tree.normalise(GZ2, np.random.default_rng(5).random((len(ids), 37)))
    return pd.DataFrame(values, index=pd.Index(ids, name="GalaxyID"), columns=list(GZ2.columns))


def zip_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """A zip of these names and contents."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def folder_of(path: Path, members: dict[str, bytes]) -> Path:
    """A folder of these names and contents."""
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write(
    folder: Path,
    *,
    table: pd.DataFrame | None = None,
    sample: pd.DataFrame | None = None,
    train: dict[str, bytes] | None = None,
    test: dict[str, bytes] | None = None,
    zipped: bool = True,
) -> Path:
    """The competition's four files, as zips or unpacked; what is not given is flawless."""
    folder.mkdir(parents=True, exist_ok=True)
    table = labels() if table is None else table
    sample = labels(TEST) * 0 if sample is None else sample
    train = images(TRAIN) if train is None else train
    test = images(TEST) if test is None else test
    for name, frame in (("training_solutions_rev1", table), ("all_zeros_benchmark", sample)):
        text = frame.to_csv(lineterminator="\n").encode()
        if zipped:
            zip_of(folder / f"{name}.zip", {f"{name}.csv": text}, zipfile.ZIP_DEFLATED)
        else:
            (folder / f"{name}.csv").write_bytes(text)
    for name, members in (("images_training_rev1", train), ("images_test_rev1", test)):
        if zipped:
            zip_of(folder / f"{name}.zip", {f"{name}/{member}": data for member, data in members.items()})
        else:
            folder_of(folder / name, members)
    return folder


def images(ids: tuple[int, ...]) -> dict[str, bytes]:
    """Name and JPEG of a galaxy for every id."""
    return {f"{galaxy_id}.jpg": _drawn(galaxy_id) for galaxy_id in ids}


@cache
def _drawn(galaxy_id: int) -> bytes:
    return jpeg(galaxy(galaxy_id))
