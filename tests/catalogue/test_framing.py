"""The scale of an image: the catalogue's, else that of its own header."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from pipeline.catalogue import fits_image, framing, images, shards
from pipeline.catalogue.galaxies import Galaxies
from pipeline.errors import DamagedImage, UserError
from pipeline.plans.crops import Crop
from tests.builders.galaxy_zoo_2 import GZ2

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


def sky_image(scale: float) -> bytes:
    """A FITS image of a galaxy, with its scale in its header."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :300] - 150
    hdu = fits.PrimaryHDU((300 * np.exp(-np.hypot(x, 2 * y) / 9) + rng.normal(0, 1, x.shape)).astype(np.float32))
    hdu.header.update(SKY | {"CDELT1": -scale / 3600, "CDELT2": scale / 3600})
    file = io.BytesIO()
    hdu.writeto(file)
    return file.getvalue()


def test_images_are_cropped_by_their_own_scale_where_the_catalogue_has_none(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.fits").write_bytes(sky_image(0.3))
    (tmp_path / "images" / "2.fits").write_bytes(sky_image(0.6))
    worker = shards.Worker.__new__(shards.Worker)
    worker.crops = [Crop(region=424, size=64)]
    worker.source, worker._readers = images.open_source(str(tmp_path / "images")), ThreadPoolExecutor(2)
    given = pd.DataFrame({"id": [1, 2], "image": ["1", "2"], "radius": [6.0, 12.0], "pixel_scale": [0.3, 0.6]})
    by_catalogue = worker._read(given)
    assert by_catalogue.reasons == ["", ""]
    for scales in ({"pixel_scale": [np.nan, 0.6]}, {"pixel_scale": [np.nan, np.nan]}, {}):
        by_header = worker._read(given.drop(columns="pixel_scale").assign(**scales))
        assert by_header.reasons == by_header.caveats == ["", ""]
        np.testing.assert_array_equal(*(next(iter(block.crops.values())) for block in (by_catalogue, by_header)))
    wider = worker._read(given.assign(radius=9.0))
    assert any((wider.crops[crop] != by_catalogue.crops[crop]).any() for crop in wider.crops)


def test_a_radius_alone_will_do_where_images_may_tell_their_scale(tmp_path):
    for name, data in {"fits/1.fits": image(), "fits/2.jpg": JPEG, "jpeg/1.jpg": JPEG}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "a.csv").write_text("id,radius\n1,3\n")
    made = Galaxies(tmp_path / "a.csv", str(tmp_path / "fits"), {})
    assert "own headers" in made.scales()
    made.survey(GZ2)
    with pytest.raises(UserError, match="takes two columns"):
        Galaxies(tmp_path / "a.csv", str(tmp_path / "jpeg"), {})
    Galaxies(tmp_path / "a.csv", "http://nowhere", {}).survey(GZ2)
    for name, images_of in (("b.csv", "1.fits"), ("c.csv", "1.jpg")):
        (tmp_path / name).write_text(f"id,image,radius\n1,{images_of},3\n")
    Galaxies(tmp_path / "b.csv", None, {}).survey(GZ2)
    with pytest.raises(UserError, match="takes two columns"):
        Galaxies(tmp_path / "c.csv", None, {}).survey(GZ2)
