"""How many pixels of an image make the side of a training image: by the catalogue's scale, else by the image's own."""

import math

import numpy as np

from pipeline.catalogue import fits_image
from pipeline.errors import DamagedImage
from pipeline.plans.crops import IMAGE_SIDE

FRAME = 0.02 * IMAGE_SIDE  # side of a training image in Petrosian 90 % radii (Willett et al. 2013, section 2.2)
AGREEMENT = 0.05  # of two scales: rounding, and the change of a projection over the sky, are less
SOURCES = {  # columns of the catalogue -> what images are cropped by
    (): "none: images are taken to show what those trained on show",
    ("radius",): "the images' own headers (WCS)",
    ("radius", "pixel_scale"): "the catalogue; the images' own headers (WCS) where it has none",
}


def pixels_of_frame(data: bytes, radius: float, catalogue_scale: float) -> tuple[float, str]:
    """(pixels, caveat or "") for an image whose galaxy has this Petrosian 90 % radius, in arcseconds.

    `catalogue_scale` in arcseconds per pixel, NaN where the catalogue has none. DamagedImage where there is no scale.
    """
    if not radius > 0:
        raise DamagedImage("has no usable radius in the catalogue")
    sides = fits_image.pixel_sides(data)
    if np.isnan(catalogue_scale):
        return FRAME * radius / _square(sides), ""
    if not catalogue_scale > 0:
        raise DamagedImage("has no usable pixel scale in the catalogue")
    return FRAME * radius / catalogue_scale, _disagreement(sides, catalogue_scale)


def _square(sides: tuple[float, float] | None) -> float:
    """The one side of a pixel; DamagedImage where there is none."""
    if sides is None:
        raise DamagedImage("has no pixel scale: the catalogue tells none, nor does a header (WCS) of its own")
    if max(sides) > (1 + AGREEMENT) * min(sides):
        raise DamagedImage(f"has pixels of {sides[0]:.3g} x {sides[1]:.3g} arcseconds; expected square ones")
    return math.sqrt(sides[0] * sides[1])


def _disagreement(sides: tuple[float, float] | None, scale: float) -> str:
    if sides is None or all(abs(math.log(side / scale)) <= AGREEMENT for side in sides):
        return ""
    own = " x ".join(f"{side:.3g}" for side in dict.fromkeys(sides))
    return f"has {own} arcseconds a pixel by its own header, and {scale:.3g} by the catalogue, which is taken"
