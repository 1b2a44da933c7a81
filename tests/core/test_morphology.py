"""Measures of drawn galaxies whose answers are known."""

import numpy as np
import pytest

from pipeline.core import morphology

SIDE = 64


def ellipse(ratio: float = 1.0, angle: float = 0.0, scale: float = 8.0, centre: float = 31.5, peak: float = 200.0):
    """A Gaussian blob (64, 64) of standard deviation `scale` along its long axis."""
    y, x = np.mgrid[:SIDE, :SIDE] - centre
    u = np.cos(angle) * x + np.sin(angle) * y
    v = (np.cos(angle) * y - np.sin(angle) * x) / ratio
    return peak * np.exp(-(u**2 + v**2) / (2 * scale**2))


def as_image(grey: np.ndarray, colour: tuple[float, float, float] = (1, 1, 1)) -> np.ndarray:
    """(1, 64, 64, 3) uint8."""
    return np.clip(np.rint(grey[..., None] * np.array(colour)), 0, 255).astype(np.uint8)[None]


def measured(image: np.ndarray) -> dict[str, float]:
    """Feature -> value of one image."""
    return dict(zip(morphology.FEATURES, morphology.measure(image)[0].tolist(), strict=True))


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.3])
@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2])
def test_axis_ratio_is_that_of_the_ellipse(ratio, angle):
    found = measured(as_image(ellipse(ratio, angle)))
    assert found["axis_ratio"] == pytest.approx(ratio, rel=0.05)
    assert found["axis_ratio_outline"] == pytest.approx(ratio, rel=0.1)


def test_a_symmetric_galaxy_has_no_asymmetry_even_off_the_centre():
    assert measured(as_image(ellipse(0.6, 0.4)))["asymmetry"] == pytest.approx(0, abs=0.02)
    assert measured(as_image(ellipse(0.6, 0.4, centre=29)))["asymmetry"] == pytest.approx(0, abs=0.02)


def test_a_bright_spot_on_one_side_is_asymmetric_clumpy_and_carries_the_brightest_fifth_outwards():
    plain = ellipse(scale=10, peak=80)
    y, x = np.mgrid[:SIDE, :SIDE]
    lumpy = plain + 150 * np.exp(-((y - 20) ** 2 + (x - 25) ** 2) / 8)
    one, other = measured(as_image(plain)), measured(as_image(lumpy))
    for name, more in (("asymmetry", 0.15), ("clumpiness", 0.015), ("m20", 0.3), ("gini", 0.02), ("lopsided", 0.005)):
        assert other[name] > one[name] + more, name


def test_half_light_radius_of_a_gaussian():
    found = measured(as_image(ellipse(scale=6)))
    inside = 6 * np.sqrt(-2 * np.log(1 - 0.5 * 0.95)) / SIDE  # the outline, at 5 % of the peak, holds 95 %
    assert found["r50"] == pytest.approx(inside, rel=0.06)


def test_a_peaked_galaxy_is_more_concentrated_and_less_equal():
    y, x = np.mgrid[:SIDE, :SIDE] - 31.5
    peaked = 250 * np.exp(-np.hypot(y, x) / 4)
    flat = np.where(np.hypot(y, x) < 16, 120.0, 0)
    one, other = measured(as_image(peaked)), measured(as_image(flat))
    assert one["concentration"] > other["concentration"] + 0.5
    assert one["gini"] > other["gini"] + 0.2
    assert one["bulge"] > other["bulge"] + 0.1


def test_gini_is_0_for_equal_pixels_and_1_for_all_flux_in_one():
    mask = np.ones((2, 4, 4), bool)
    flux = np.ones((2, 4, 4), np.float32)
    flux[1] = 0
    flux[1, 2, 2] = 7
    gini, _ = morphology.gini_and_m20(flux, mask, np.ones((2, 4, 4)))
    np.testing.assert_allclose(gini, [0, 1], atol=1e-6)


def test_m20_is_the_logarithm_of_the_brightest_fifths_share_of_the_moment():
    flux, radius = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4))
    flux[0, 0, :3], radius[0, 0, :3] = (2, 4, 4), (1, 3, 3)  # the brightest pixel, and its equal, hold 72 of 74
    _, m20 = morphology.gini_and_m20(flux, flux > 0, radius)
    assert m20[0] == pytest.approx(np.log10(72 / 74))


def test_colours_are_magnitudes_and_larger_is_redder():
    red = measured(as_image(ellipse(), (1, 0.5, 0.25)))
    for where in ("inner", "outer"):
        assert red[f"g_r_{where}"] == pytest.approx(2.5 * np.log10(2), abs=0.06)
        assert red[f"r_i_{where}"] == pytest.approx(2.5 * np.log10(2), abs=0.06)
    blue = measured(as_image(ellipse(), (0.5, 0.7, 1)))
    assert blue["g_r_inner"] < 0


def test_a_bar_is_a_twofold_pattern_in_a_round_galaxy():
    disc = ellipse(scale=11, peak=90)
    barred = disc + ellipse(0.2, 0.5, scale=4, peak=150)
    assert measured(as_image(barred))["bar"] > measured(as_image(disc))["bar"] + 0.05


def test_neighbours_do_not_count_as_the_galaxy():
    y, x = np.mgrid[:SIDE, :SIDE]
    star = 200 * np.exp(-((y - 10) ** 2 + (x - 10) ** 2) / 6)
    alone, crowded = measured(as_image(ellipse(scale=5))), measured(as_image(ellipse(scale=5) + star))
    assert alone["neighbours"] == 0
    assert crowded["neighbours"] > 0.05
    assert crowded["axis_ratio"] == pytest.approx(alone["axis_ratio"], abs=0.02)


def test_background_is_taken_off():
    dark, bright = as_image(ellipse(peak=150)), as_image(ellipse(peak=150) + 40)
    np.testing.assert_allclose(morphology.measure(bright), morphology.measure(dark), atol=0.03)


def test_turning_an_image_changes_nothing():
    rng = np.random.default_rng(0)
    image = as_image(ellipse(0.5, 0.3) + rng.normal(20, 3, (SIDE, SIDE)))
    turned = np.rot90(image, axes=(1, 2))
    np.testing.assert_allclose(morphology.measure(turned), morphology.measure(image), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("side", [32, 45, 64, 200])
def test_any_size_and_even_nothing_to_see_gives_finite_numbers(side):
    rng = np.random.default_rng(1)
    images = np.stack([np.zeros((side, side, 3)), np.full((side, side, 3), 255), rng.integers(0, 255, (side, side, 3))])
    found = morphology.measure(images.astype(np.uint8))
    assert found.shape == (3, len(morphology.FEATURES))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_chunks_do_not_show(monkeypatch):
    images = np.concatenate([as_image(ellipse(ratio)) for ratio in (0.3, 0.5, 0.7, 0.9, 1.0)])
    whole = morphology.measure(images)
    monkeypatch.setattr(morphology, "PIXELS", 2 * SIDE**2)
    np.testing.assert_array_equal(morphology.measure(images), whole)


def test_a_larger_image_of_the_same_sky_measures_alike():
    image = as_image(ellipse(0.6, 0.4))
    large = image.repeat(4, axis=1).repeat(4, axis=2)
    one, other = morphology.measure(image), morphology.measure(large)
    np.testing.assert_allclose(other, one, rtol=0.1, atol=0.05)


def test_centre_colour_is_the_mean_of_the_middle():
    images = np.zeros((1, 8, 8, 3), np.uint8)
    images[0, 3:5, 3:5] = (10, 20, 30)
    assert morphology.centre_colour(images, 2).tolist() == [[10, 20, 30]]
    assert morphology.centre_colour(images, 4).tolist() == [[2.5, 5, 7.5]]


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="expected images of shape"):
        morphology.measure(np.zeros((2, 8, 9, 3), np.uint8))
