"""A folder of a user's own labelled galaxies: drawn images of any format and size, a table, a plan."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.sky import galaxy, render

PLAN = """
seed = 1
folds = 2
baselines = ["mean", "ridge"]
{head}
[crops.whole]
region = 1.0
size = 32
[[runs]]
name = "a"
backbone = "mobilenetv2"
crop = "whole"
on_missing_weights = "random"
head_phase = {{ epochs = 2 }}
views = "single"
[[ensembles]]
name = "final"
runs = ["a"]
"""


def pictures(n: int, side: int, seed: int = 0) -> tuple[list[np.ndarray], list[bool]]:
    """n drawn galaxies uint8 (side, side, 3) RGB, and whether each is a disc."""
    rng, images, discs = np.random.default_rng(seed), [], []
    for _ in range(n):
        drawn = galaxy.sample(rng)
        image = render.render(drawn, rng)[84:340, 84:340]
        images.append(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))
        discs.append(drawn.kind == "disc")
    return images, discs


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    """The bytes of an image file."""
    return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()


def write(folder: Path, images: Sequence[np.ndarray], names: Sequence[str], header: str, rows: Sequence[str]) -> Path:
    """labels.csv (a header, and rows without their id) and images/ in a new folder; returns it."""
    (folder / "images").mkdir(parents=True)
    for name, image in zip(names, images, strict=True):
        (folder / "images" / name).write_bytes(encoded(image, Path(name).suffix))
    stems = [Path(name).stem for name in names]
    lines = [header, *(f"{stem},{row}" for stem, row in zip(stems, rows, strict=True))]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def plan(folder: Path, head: str = "", text: str = PLAN) -> Path:
    """A plan of one run in that folder."""
    path = folder / "mine.toml"
    path.write_text(text.format(head=head))
    return path
