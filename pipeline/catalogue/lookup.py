"""What in a folder of features is most like an image: the cosine of the angle between standardised features."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from pipeline.catalogue import pixels, thumbnails
from pipeline.catalogue.embedded import Embedded, Part
from pipeline.core.neighbours import Nearest
from pipeline.core.projection import directions
from pipeline.models.embedder import Embedder
from pipeline.models.predictor import no_progress


class Look(NamedTuple):
    """An image as the network of a folder of features sees it."""

    direction: np.ndarray  # float32 (k,), of length 1
    picture: np.ndarray  # uint8 (112, 112, 3)
    caveat: str


def look(galaxies: Embedded, network: Embedder, data: bytes) -> Look:
    """An image in a file's bytes, framed as one of the competition; DamagedImage where it is none."""
    crop, shown = galaxies.crop, galaxies.crop.model_copy(update={"size": thumbnails.SIDE})
    seen, picture = (np.zeros((one.size, one.size, 3), np.uint8) for one in (crop, shown))
    caveat = pixels.cut(data, [crop, shown], [seen, picture])
    features = galaxies.stored(network.features(seen[None]))
    return Look(directions(galaxies.standard(features))[0], picture, caveat)


def nearest(
    parts: Iterable[Part], wanted: np.ndarray, own: np.ndarray, n: int, progress: Callable[[int], object] = no_progress
) -> Nearest:
    """The n galaxies most similar to each of the directions `wanted` (q, k), but for the row that is its `own` (q,)."""
    found = Nearest(len(wanted), n)
    for part in parts:
        similarity = wanted @ directions(part.features).T
        similarity[own[:, None] == part.rows] = -np.inf
        found.add(similarity, part.rows)
        progress(len(part.rows))
    return found
