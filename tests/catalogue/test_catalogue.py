"""The parts of a catalogue: images of any format -> crops, columns."""

import gzip
import io

import cv2
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits

from pipeline.catalogue import columns, pixels
from pipeline.competition import cutout
from pipeline.core import tree
from pipeline.core.stretch import stretch
from pipeline.errors import DamagedImage
from pipeline.plans.crops import Crop
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2

CROPS = [Crop(region=256, size=128), Crop(region=424, size=64)]


def cut(data: bytes, frame: float | None = None) -> list[np.ndarray]:
    targets = [np.zeros((crop.size, crop.size, 3), np.uint8) for crop in CROPS]
    pixels.cut(data, CROPS, targets, frame)
    return targets


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def fits_of(*arrays: np.ndarray) -> bytes:
    """A FITS file: an empty first part where there are several."""
    hdus = [fits.PrimaryHDU(arrays[0])] if len(arrays) == 1 else [fits.PrimaryHDU(), *map(fits.ImageHDU, arrays)]
    file = io.BytesIO()
    fits.HDUList(hdus).writeto(file)
    return file.getvalue()


def light(side: int = 212) -> np.ndarray:
    """(3, side, side) light from blue to red in units of the sky's noise: a red galaxy that is no mirror image."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] - side / 2
    body = 300 * np.exp(-np.hypot(x, 2 * y) / 9) + 60 * np.exp(-np.hypot(x - 30, y + 20) / 3)
    return (np.array([0.5, 1.0, 1.6])[:, None, None] * body + rng.normal(0, 1, (3, side, side))).astype(np.float32)


def test_a_square_jpeg_is_cut_as_in_the_competition():
    data = tiny.jpeg(tiny.galaxy(1))
    targets = [np.zeros((crop.size, crop.size, 3), np.uint8) for crop in CROPS]
    cutout.cut(data, CROPS, targets)
    for mine, other in zip(cut(data), targets, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_a_png_of_the_same_pixels_differs_by_the_half_scale_decode_only():
    data = tiny.jpeg(tiny.galaxy(1))
    same = png(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    for mine, other in zip(cut(same), cut(data), strict=True):
        assert np.abs(mine.astype(int) - other).mean() < 1


def test_a_larger_image_of_the_same_sky_is_brought_to_scale():
    image = tiny.galaxy(3)
    large = cv2.copyMakeBorder(cv2.resize(image, (848, 848), interpolation=cv2.INTER_CUBIC), 50, 50, 76, 76, 0)
    for mine, other in zip(cut(png(large), frame=848), cut(png(image)), strict=True):
        assert np.abs(mine.astype(int) - other).mean() < 1.5


def test_an_image_wider_than_high_shows_its_centre():
    image = tiny.galaxy(3)
    wide = cv2.copyMakeBorder(image, 0, 0, 60, 60, cv2.BORDER_CONSTANT)
    np.testing.assert_array_equal(cut(png(wide))[0], cut(png(image))[0])
    target = np.zeros((64, 64, 3), np.uint8)
    said = [pixels.cut(png(one), [Crop(region=256, size=64)], [target]) for one in (image, image[:-9], wide)]
    assert said == ["", "", "is 544 x 424 pixels, of which the central square was taken"]


@pytest.mark.parametrize("gain", [1.0, 1e-9, 4e4])
def test_fits_of_any_unit_look_like_training_images(gain):
    scene = light()
    raw = gain * (scene + np.array([50, -3, 1000])[:, None, None])  # whatever sky each band has
    expected = stretch(np.moveaxis(scene[::-1, ::-1], 0, -1))
    made, _ = pixels.decode(fits_of(raw.astype(np.float32)))
    assert made.shape == (212, 212, 3)
    assert np.abs(made.astype(int) - expected).mean() < 2
    assert made[100:112, 100:112, 0].mean() > made[100:112, 100:112, 2].mean()  # the last band is red


def test_north_is_up_and_one_band_is_grey():
    scene = light()[1]
    made, _ = pixels.decode(fits_of(scene))
    assert (made[..., 0] == made[..., 2]).all()
    south, north = made[120:132, 130:142].mean(), made[80:92, 130:142].mean()
    assert south > 2 * north  # the companion stands at a low row of the file, which is below


BAD = {
    "no image": (b"hello", "is no JPEG"),
    "a PNG without pixels": (png(tiny.galaxy(1))[:60], "is cut short"),
    "a small PNG": (png(tiny.galaxy(1, side=20)), "20 x 20 pixels; expected"),
    "a FITS table": (None, "without an image"),
    "two bands": (fits_of(light()[:2]), "2 bands"),
    "a FITS file cut short": (fits_of(light())[:40_000], "FITS"),
    "no noise": (fits_of(np.zeros((100, 100), np.float32)), "one and the same value everywhere"),
    "nothing but gaps": (fits_of(np.full((100, 100), np.nan, np.float32)), "no pixel that holds data"),
    "gzip": (gzip.compress(b"x"), "is no JPEG"),
}


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.parametrize(("data", "said"), BAD.values(), ids=BAD)
def test_what_is_no_image_is_told(data, said):
    if data is None:
        file = io.BytesIO()
        table = fits.BinTableHDU.from_columns([fits.Column("a", "E", array=[1.0])])
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(file)
        data = file.getvalue()
    with pytest.raises(DamagedImage, match=said):
        cut(data)


@pytest.mark.parametrize(
    ("frame", "said"),
    [(float("nan"), "no usable radius"), (-3, "no usable radius"), (900, "are needed around the galaxy")],
)
def test_frames_that_cannot_be(frame, said):
    with pytest.raises(DamagedImage, match=said):
        cut(png(tiny.galaxy(1)), frame)


def test_conditional_fractions_are_joint_ones_over_those_of_the_question():
    joint = tree.normalise(GZ2, np.random.default_rng(0).random((5, 37)))
    galaxies = pd.DataFrame({"id": range(5), "ra": 1.0})
    made = columns.table(GZ2, galaxies, joint, joint / 10, ["", "", "broken", "", ""])
    for question, columns_of in zip(GZ2.questions, GZ2.slices, strict=True):
        names = list(GZ2.names)[columns_of]
        assert names[0].startswith(question.name + "_")
        np.testing.assert_allclose(made.loc[made["reason"] == "", names].sum(axis=1), 1, atol=1e-5)
    assert made.loc[2, [*GZ2.names, "five_class_share"]].isna().all()
    assert made["smooth-or-featured"].isna().tolist() == [False, False, True, False, False]
