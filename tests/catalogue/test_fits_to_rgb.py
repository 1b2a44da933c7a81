"""FITS images as surveys and programs write them: the same picture whatever is missing and however bands are held."""

import gzip
import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.visualization import LuptonAsinhStretch, make_lupton_rgb

from pipeline.catalogue import pixels
from pipeline.core.stretch import GREY, SOFTENING, stretch
from pipeline.errors import DamagedImage

SIDE = 212


def light(seed: int = 0) -> np.ndarray:
    """(3, side, side) float32, blue to red, in units of the sky's noise: a red galaxy that is no mirror image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    body = 300 * np.exp(-np.hypot(x, 2 * y) / 9) + 60 * np.exp(-np.hypot(x - 30, y + 20) / 3)
    return (np.array([0.5, 1.0, 1.6])[:, None, None] * body + rng.normal(0, 1, (3, SIDE, SIDE))).astype(np.float32)


def written(*hdus: fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU) -> bytes:
    file = io.BytesIO()
    first = [] if isinstance(hdus[0], fits.PrimaryHDU) else [fits.PrimaryHDU()]
    fits.HDUList([*first, *hdus]).writeto(file)
    return file.getvalue()


def of(data: np.ndarray, **header: object) -> bytes:
    """A FITS file of one image."""
    return written(fits.PrimaryHDU(data, fits.Header(header)))


def shown(data: bytes) -> np.ndarray:
    return pixels.decode(data)[0].astype(int)


SCENE = light()
SCENE.flags.writeable = False
SHOWN = shown(of(SCENE))


def gap(kind: str) -> np.ndarray:
    """bool (side, side): pixels without data."""
    made = np.zeros((SIDE, SIDE), bool)
    y, x = np.mgrid[:SIDE, :SIDE]
    if kind == "edge":
        made[: SIDE // 10] = True
    elif kind == "wide":
        made[:, : SIDE // 3] = True
    elif kind == "corner":  # of a survey's edge that runs across the image
        made[x + y < 0.5 * SIDE] = True
    elif kind == "all around":
        made[:] = np.hypot(x - SIDE / 2, y - SIDE / 2) > 0.55 * SIDE
    elif kind == "masked star":
        made[np.hypot(x - 40, y - 60) < 15] = True
    return made


GAPS = ("edge", "wide", "corner", "all around", "masked star")
FILLS = (np.nan, np.inf, -np.inf, 0.0, -999.0)


@pytest.mark.parametrize("sky", [0.0, 50.0, -3.0])
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("kind", GAPS)
def test_gaps_show_the_sky_and_change_nothing_else(kind, fill, sky):
    scene, missing = SCENE + np.float32(sky), gap(kind)
    scene[:, missing] = fill
    made, caveat = pixels.decode(of(scene))
    missing = missing[::-1]
    assert np.abs(made.astype(int) - SHOWN)[~missing].mean() < 0.4
    assert made[missing].max() <= SHOWN[:15].max()
    assert f"has no data in {missing.mean():.0%} of its pixels" in caveat


def test_blank_integers_are_gaps():
    counts = np.rint(50 * SCENE + 1000).astype(np.int32)
    counts[:, gap("wide")] = -2147483648
    made = shown(of(counts, BLANK=-2147483648))
    assert np.abs(made - SHOWN)[~gap("wide")[::-1]].mean() < 0.4
    unsigned = np.rint(20 * SCENE + 1000).astype(np.uint16)
    unsigned[:, gap("edge")] = 65535
    hdu = fits.PrimaryHDU(unsigned)
    hdu.header["BLANK"] = 32767
    assert np.abs(shown(written(hdu)) - SHOWN)[~gap("edge")[::-1]].mean() < 0.6


@pytest.mark.parametrize("fill", [65535.0, 1e30, 99.0])
def test_gaps_may_be_filled_with_a_high_value(fill):
    scene = SCENE.copy()
    scene[:, gap("edge")] = fill
    assert np.abs(shown(of(scene)) - SHOWN)[~gap("edge")[::-1]].mean() < 0.4


def test_a_saturated_star_is_no_gap():
    scene = SCENE.copy()
    scene[:, 20:40, 20:40] = 60_000
    assert (shown(of(scene))[::-1][20:40, 20:40] > 250).all()


def test_a_gap_in_one_band_is_one_in_all():
    scene = SCENE.copy()
    scene[1, gap("edge")] = np.nan
    made = shown(of(scene))[::-1]
    assert (made[gap("edge")] == 0).all()


def test_pixels_masked_amid_light_are_as_their_neighbours():
    scene, rng = SCENE.copy(), np.random.default_rng(1)
    masked = rng.random((SIDE, SIDE)) < 0.02
    scene[:, masked] = np.nan
    scene[:, 105:108, 105:108] = np.nan  # the saturated core
    difference = np.abs(shown(of(scene)) - SHOWN)
    assert difference.mean() < 0.5
    assert difference[100:112, 100:112].mean() < 15


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (np.s_[:, :, 90:120], "no data in .*% of its centre"),
        (np.s_[:, : SIDE // 2], "no data in .*% of its centre"),
        (np.s_[:, :], "no pixel that holds data|one and the same value everywhere"),
    ],
)
@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_without_the_galaxy_there_is_no_picture(missing, fill, said):
    scene = SCENE + 20
    scene[missing] = fill
    with pytest.raises(DamagedImage, match=said):
        shown(of(scene))


def test_without_sky_there_is_no_picture():
    scene = SCENE.copy()
    scene[:, 16:-16, 16:-16] = light(1)[:, 16:-16, 16:-16]
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    scene[:, np.hypot(x, y) > 0.42 * SIDE] = 0  # a stamp with all but the galaxy masked
    with pytest.raises(DamagedImage, match="of its border, too little to measure the sky"):
        shown(of(scene))


@pytest.mark.parametrize("at", [-1.0, -0.3, 0.0])
def test_clipped_negatives_change_nothing(at):
    made = shown(of(np.maximum(SCENE, at) - np.float32(at)))
    assert np.abs(made - SHOWN).mean() < 0.8
    assert np.abs(made - SHOWN)[100:112, 100:112].max() <= 3


def test_a_sky_that_is_cut_off_is_told():
    with pytest.raises(DamagedImage, match=r"one and the same value in .*% of its border"):
        shown(of(np.maximum(SCENE, 1.0)))


@pytest.mark.parametrize(
    "convert",
    [
        lambda s: s.astype(">f8"),
        lambda s: np.rint(100 * s).astype(np.int16),
        lambda s: np.rint(20 * s + 1000).astype(np.uint16),
        lambda s: np.rint(1000 * s).astype(np.int64),
        lambda s: s[None],  # a degenerate fourth axis
        lambda s: s * np.float32(1e-30),
        lambda s: s.astype(np.float64) * 1e36,
    ],
)
def test_numbers_of_every_kind(convert):
    assert np.abs(shown(of(convert(SCENE))) - SHOWN).mean() < 0.7


def test_scaled_and_compressed():
    hdu = fits.PrimaryHDU(SCENE.copy())
    hdu.scale("int16", bscale=0.02, bzero=100)
    assert np.abs(shown(written(hdu)) - SHOWN).mean() < 0.7
    for method in ("RICE_1", "GZIP_2"):
        hdu = fits.CompImageHDU(SCENE, compression_type=method, quantize_level=64)
        assert np.abs(shown(written(hdu)) - SHOWN).mean() < 0.7
    np.testing.assert_array_equal(shown(gzip.compress(of(SCENE))), SHOWN)


# ---- how bands are held ----


def images(names: list[str], key: str, *, order: str = "grz") -> bytes:
    planes = dict(zip("grz", SCENE, strict=True))
    return written(*(fits.ImageHDU(planes[b], fits.Header({key: name})) for b, name in zip(order, names, strict=True)))


@pytest.mark.parametrize(
    "data",
    [
        images(["g", "r", "z"], "FILTER"),
        images(["z DECam c0004 9260.0", "g DECam c0001", "r DECam SDSS c0002"], "FILTER", order="zgr"),
        images(["HSC-R", "HSC-G", "HSC-Z"], "BAND", order="rgz"),
        images(["decam_z", "decam_r", "decam_g"], "EXTNAME", order="zrg"),
        written(
            *(
                fits.ImageHDU(plane, fits.Header({"EXTNAME": name, "FILTER": name[0]}))
                for plane, name in zip(
                    [SCENE[1], 1 / SCENE[1] ** 2, SCENE[0], SCENE[2]], ["r", "r_ivar", "g", "z"], strict=True
                )
            )
        ),
        of(SCENE[::-1], BANDS="zrg"),
        of(SCENE[::-1], FILTER="z,r,g"),
        of(SCENE[::-1], BAND0="z", BAND1="r", BAND2="g"),
        of(SCENE[[1, 0, 2]], FILTER1="r", FILTER2="g", FILTER3="z"),
        of(SCENE[::-1], CTYPE3="RGB"),
        of(SCENE[::-1], CTYPE3="WAVE", CDELT3=-1e-7),
        of(SCENE[::-1], CTYPE3="FREQ", CDELT3=1e13),
        of(SCENE, CTYPE3="WAVE", CDELT3=1e-7),
        of(np.moveaxis(SCENE, 0, -1)),
        of(np.moveaxis(SCENE[::-1], 0, -1), BANDS="RGB"),
        of(np.stack([light(1)[0], *SCENE[:2], SCENE[2], light(2)[0]]), BANDS="ugriz"),
    ],
)  # fmt: skip
def test_bands_in_any_order(data):
    made = shown(data)
    assert made.shape == SHOWN.shape
    assert np.abs(made - SHOWN).mean() < 0.1


@pytest.mark.parametrize("names", [("SCI", "WHT", "CTX"), ("image", "mask", "variance"), ("SCI", "FOO", "BAR")])
def test_one_image_with_what_belongs_to_it_is_grey(names):
    beside = np.ones((SIDE, SIDE), np.float32)
    planes = [fits.ImageHDU(p, name=n) for p, n in zip([SCENE[1], beside, beside], names, strict=True)]
    grey = shown(of(SCENE[1]))
    assert (grey[..., 0] == grey[..., 2]).all()
    np.testing.assert_array_equal(shown(written(*planes)), grey)
    np.testing.assert_array_equal(shown(written(*planes[::-1])), grey)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (written(*map(fits.ImageHDU, SCENE)), "3 images of one size and does not say of which bands"),
        (images(["r", "r", "r"], "FILTER"), "images of the bands r, r, r"),
        (written(*(fits.ImageHDU(p, name=n) for p, n in zip(SCENE, "gr", strict=False))), "images of the bands g, r"),
        (of(SCENE[:2]), "2 bands"),
        (of(np.zeros((40, 80, 80), np.float32)), "40 bands"),
        (of(SCENE[:, :24, :24]), "24 x 24 pixels"),
        (of(np.full((90, 90), 7.0)), "one and the same value everywhere"),
    ],
)
def test_what_cannot_be_told_is_refused(data, said):
    with pytest.raises(DamagedImage, match=said):
        shown(data)


def test_an_order_that_was_assumed_is_a_caveat():
    assert "taken from blue to red" in pixels.decode(of(np.moveaxis(SCENE, 0, -1)))[1]
    assert pixels.decode(of(SCENE))[1] == ""


# ---- pictures ----

PICTURE = stretch(np.moveaxis(SCENE[::-1], 0, -1))  # (side, side, 3) RGB, first row south


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (of(PICTURE[..., 1]), PICTURE[..., [1, 1, 1]]),
        (of(PICTURE), PICTURE),
        (of(np.moveaxis(PICTURE, -1, 0), CTYPE3="RGB"), PICTURE),
        (of(np.moveaxis(PICTURE, -1, 0)[::-1], BANDS="BGR"), PICTURE),
    ],
)
def test_an_8_bit_picture_is_taken_as_it_is(data, expected):
    np.testing.assert_array_equal(shown(data), expected[::-1])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (of(np.moveaxis(PICTURE, -1, 0)), "does not name its colours"),
        (of(np.moveaxis(PICTURE, -1, 0).astype(np.int16)), "grey levels of a picture"),
        (of(PICTURE[..., 1].astype(np.float32)), "grey levels of a picture"),
        (of(PICTURE[..., 1] / 255), "grey levels of a picture"),
    ],
)
def test_a_picture_in_disguise_is_refused(data, said):
    with pytest.raises(DamagedImage, match=said):
        shown(data)


# ---- the stretch, and damage ----


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # theirs
def test_the_stretch_is_that_of_lupton_as_astropy_has_it():
    q = 10 * np.sinh(0.1 * 255 / GREY)  # where a level of astropy's, 0.1 * 255 / asinh(Q / 10), is one of ours
    bands = np.maximum(SCENE[::-1], 0)
    theirs = make_lupton_rgb(*bands.copy(), stretch=SOFTENING * q, Q=q).astype(int)
    ours = stretch(np.moveaxis(bands, 0, -1)).astype(int)
    assert np.abs(ours - theirs).max() <= 1
    assert LuptonAsinhStretch(SOFTENING * q, q)(SOFTENING) * 255 == pytest.approx(GREY * np.arcsinh(1))
    rescaled = shown(of(40 * SCENE + np.array([50, -3, 1000], np.float32)[:, None, None]))
    assert np.abs(rescaled - theirs[::-1]).mean() < 1


@pytest.mark.parametrize(
    ("card", "value"),
    [
        (b"NAXIS   =", b"99999999999"),
        (b"ZNAXIS  =", b"99999999999"),
        (b"NAXIS1  =", b"-1"),
        (b"NAXIS2  =", b"-64"),
        (b"ZVAL1   =", b"-64"),
        (b"ZVAL2   =", b"-64"),
    ],
)
def test_headers_that_hang_or_crash_astropy_are_refused(card, value):
    data = bytearray(written(fits.CompImageHDU(SCENE[0])))
    at = data.rindex(card)
    data[at + 9 : at + 80] = value.rjust(21).ljust(71)
    with pytest.raises(DamagedImage, match="is no whole FITS file"):
        shown(bytes(data))


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_file_cut_short_is_told(share):
    whole = of(SCENE)
    with pytest.raises(DamagedImage, match="no whole FITS file"):
        shown(whole[: int(share * len(whole))])
