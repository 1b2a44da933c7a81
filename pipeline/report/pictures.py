"""Images embedded in the page: thumbnails of galaxies, arrays as images, contact sheets."""

import base64
from functools import cache

import cv2
import numpy as np
from markupsafe import Markup

from pipeline.errors import Damaged, DamagedImage, UserError
from pipeline.labelled.source import open_images
from pipeline.plans.config import Plan
from pipeline.plans.crops import IMAGE_SIDE, Crop
from pipeline.store.artifacts import Store

THUMBNAIL = Crop(region=256, size=128)
QUALITY = 72  # of WebP


def data_uri(image: np.ndarray) -> str:
    """An image, uint8 (h, w, 3) RGB, as a data URI."""
    _, data = cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


class Thumbnails:
    """The central part of training galaxies: from the source images, or from the largest crops where those are gone."""

    def __init__(self, store: Store, plan: Plan):
        try:
            self._raw = open_images(store, "train")
        except Damaged:
            raise
        except (UserError, OSError, KeyError):  # gone or changed
            self._raw = None
        name, _ = max(plan.crops.items(), key=lambda item: item[1].size)
        self._store, self._crop = store, name
        widest = max(plan.crops.values(), key=lambda crop: crop.pixels(IMAGE_SIDE))
        own = "schema" in store.inputs().facts()  # framed as the plan says, not as the competition is
        self._shown = widest.model_copy(update={"size": THUMBNAIL.size}) if own else THUMBNAIL
        self.uri = cache(self._uri)

    def _uri(self, galaxy: int | str) -> str:
        return data_uri(self.pixels(galaxy))

    def pixels(self, galaxy: int | str) -> np.ndarray:
        """uint8 (128, 128, 3) of a training galaxy by its id; grey where it cannot be read."""
        made = np.full((THUMBNAIL.size, THUMBNAIL.size, 3), 128, np.uint8)
        try:
            if self._raw is not None:
                self._raw.cut(self._raw.read(galaxy), [self._shown], [made])
            else:
                images, ids = self._store.load_crops(self._crop, "train")
                row = np.flatnonzero(ids == galaxy)[0]
                made = cv2.resize(images[row], made.shape[:2], interpolation=cv2.INTER_LINEAR)
        except Damaged:
            raise
        except (DamagedImage, UserError, OSError, KeyError, ValueError):
            pass  # set aside: the galleries section lists it
        return made

    def close(self) -> None:
        """Close the source images."""
        if self._raw is not None:
            self._raw.close()


def contact_sheet(rows: list[list[np.ndarray]], gap: int = 2) -> np.ndarray:
    """Pictures uint8 (h, w, 3), all of one size, as one: a line a row; what is missing at a row's end is white."""
    height, width, _ = rows[0][0].shape
    columns = max(map(len, rows))
    made = np.full((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            made[i * (height + gap) :, j * (width + gap) :][:height, :width] = picture
    return made


def apply_colormap(values: np.ndarray, name: str = "magma") -> np.ndarray:
    """Values (h, w) in [0, 1] through one of matplotlib's colour maps: uint8 (h, w, 3)."""
    from matplotlib import colormaps

    return (colormaps[name](np.clip(np.asarray(values, float), 0, 1))[..., :3] * 255).round().astype(np.uint8)


def overlay_cam(image: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """An image uint8 (h, w, 3) with a Grad-CAM heat map (side, side), in [0, 1], laid over it."""
    heat = cv2.resize(np.asarray(cam, np.float32), image.shape[:2], interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return (0.45 * image + 0.55 * apply_colormap(heat, "inferno")).round().astype(np.uint8)


def img_tag(uri: str, alt: str) -> Markup:
    """An <img> of a square picture."""
    side = THUMBNAIL.size
    return Markup('<img src="{}" alt="{}" width="{}" height="{}">').format(uri, alt, side, side)


def table(rows: list[list[tuple[Markup, str]]]) -> Markup:
    """Lines of pictures with captions, for notebooks, which have no style sheet of ours."""
    cell = Markup('<td style="vertical-align: top; text-align: left; max-width: 128px">{}<small>{}</small></td>')
    lines = [Markup("<tr>{}</tr>").format(Markup("").join(cell.format(*one) for one in row)) for row in rows]
    return Markup("<table>{}</table>").format(Markup("").join(lines))
