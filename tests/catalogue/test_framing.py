"""The scale of an image: the catalogue's, else that of its own header."""

import io

import numpy as np
import pytest
from astropy.io import fits

from pipeline.catalogue import fits_image, framing
from pipeline.errors import DamagedImage

JPEG = b"\xff\xd8 whatever follows"


def image(*shape: int, extension: bool = False, **cards) -> bytes:
    """A FITS image with these cards of its header; underscores stand for the minus of CTYPE."""
    hdu = (fits.ImageHDU if extension else fits.PrimaryHDU)(np.zeros(shape or (80, 80), np.float32))
    hdu.header.update(cards)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu] if extension else [hdu]).writeto(file)
    return file.getvalue()


SKY = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 80.0}
STEP = 0.4 / 3600
SCALES = {
    "steps": image(**SKY, CDELT1=-STEP, CDELT2=STEP),
    "a matrix": image(**SKY, CD1_1=-STEP, CD1_2=0.0, CD2_1=0.0, CD2_2=STEP),
    "turned by 30 degrees": image(
        **SKY, CD1_1=-STEP * 0.75**0.5, CD1_2=STEP / 2, CD2_1=STEP / 2, CD2_2=STEP * 0.75**0.5
    ),
    "in arcseconds": image(**SKY, CDELT1=-0.4, CDELT2=0.4, CUNIT1="arcsec", CUNIT2="arcsec"),
    "a cube": image(3, 80, 80, **SKY, CDELT1=-STEP, CDELT2=STEP, CTYPE3="WAVE", CDELT3=1e-7),
    "an extension": image(extension=True, **SKY, CDELT1=-STEP, CDELT2=STEP),
}
NONE = {
    "no sky": image(CDELT1=-STEP, CDELT2=STEP),
    "no steps": image(**SKY),
    "nothing": image(),
    "a JPEG": JPEG,
    "steps of zero": image(**SKY, CDELT1=0.0, CDELT2=0.0),
    "damage": image(**SKY, CDELT1=-STEP, CDELT2=STEP)[:1000],
}


@pytest.mark.parametrize("data", SCALES.values(), ids=SCALES)
def test_the_header_tells_the_side_of_a_pixel(data):
    assert fits_image.pixel_sides(data) == pytest.approx((0.4, 0.4))
    frame, caveat = framing.pixels_of_frame(data, 10.0, np.nan)
    assert frame == pytest.approx(framing.FRAME * 10 / 0.4)
    assert caveat == ""


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.parametrize("data", NONE.values(), ids=NONE)
def test_where_it_tells_none_the_catalogue_must(data):
    assert fits_image.pixel_sides(data) is None
    with pytest.raises(DamagedImage, match="no pixel scale: the catalogue tells none"):
        framing.pixels_of_frame(data, 10.0, np.nan)
    assert framing.pixels_of_frame(data, 10.0, 0.5) == (framing.FRAME * 20, "")


def test_the_catalogues_scale_is_taken_and_a_contradiction_told():
    data = SCALES["steps"]
    assert framing.pixels_of_frame(data, 10.0, 0.401)[1] == ""
    frame, caveat = framing.pixels_of_frame(data, 10.0, 0.8)
    assert frame == pytest.approx(framing.FRAME * 10 / 0.8)
    assert "0.4 arcseconds a pixel by its own header, and 0.8 by the catalogue" in caveat


def test_pixels_that_are_not_square_and_useless_numbers():
    with pytest.raises(DamagedImage, match=r"pixels of 0\.4 x 0\.8 arcseconds"):
        framing.pixels_of_frame(image(**SKY, CDELT1=-STEP, CDELT2=2 * STEP), 10.0, np.nan)
    for radius, scale, said in ((np.nan, 0.4, "radius"), (0, 0.4, "radius"), (10, -1, "pixel scale")):
        with pytest.raises(DamagedImage, match=f"no usable {said}"):
            framing.pixels_of_frame(JPEG, radius, scale)
