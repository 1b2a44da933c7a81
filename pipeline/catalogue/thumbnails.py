"""Small pictures of a catalogue's galaxies, framed as the network sees them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.catalogue import framing, image_stamps, images, pixels
from pipeline.errors import DamagedImage, UserError
from pipeline.plans.crops import Crop

SIDE, GREY = 112, 128


def pictures(galaxies: pd.DataFrame, where: str | None, started_in: Path, crop: Crop) -> list[np.ndarray]:
    """uint8 (112, 112, 3) of each galaxy (image, and radius and pixel_scale where there are); grey where it is gone.

    `where` their images lie; paths of them start from the folder `started_in`.
    """
    shown = crop.model_copy(update={"size": SIDE})
    try:
        source = images.open_source(where)
    except UserError:  # gone since
        return [_grey() for _ in range(len(galaxies))]
    names = galaxies["image"].tolist()
    if where is None:
        names = [name if "://" in name else str(started_in / name) for name in names]

    def picture(name: str, radius: float, scale: float) -> np.ndarray:
        made = _grey()
        try:
            data = source.read(name)
            frame = None if radius is None else framing.pixels_of_frame(data, radius, scale)[0]
            pixels.cut(data, [shown], [made], frame)
        except DamagedImage:
            return _grey()
        return made

    radii = galaxies["radius"].tolist() if "radius" in galaxies else [None] * len(names)
    scales = galaxies["pixel_scale"].tolist() if "pixel_scale" in galaxies else [np.nan] * len(names)
    with ThreadPoolExecutor(image_stamps.threads_for(source)) as readers:
        return list(readers.map(picture, names, radii, scales))


def _grey() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), GREY, np.uint8)
