"""Views: round trips, directions by hand, the sets that a plan names."""

import numpy as np
import pytest

from pipeline.core import views
from pipeline.plans.run import VIEW_SETS

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 10, 10, 3), np.uint8)
IDENTITY = [[1, 0, 0], [0, 1, 0]]


def look(image: np.ndarray, matrix: np.ndarray, size: int | None = None) -> np.ndarray:
    """One (s, s) image through one view (1, 2, 3)."""
    return views.apply(image[None, :, :, None], matrix, size)[0, :, :, 0]


def blob(x: float, y: float, size: int = 65, width: float = 0.12) -> np.ndarray:
    """A round spot at (x, y), x right and y down, in units of the half side."""
    axis = (2 * np.arange(size) + 1) / size - 1
    return 100 * np.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / (2 * width**2))


def centre(image: np.ndarray) -> tuple[float, float]:
    """Where the light of an image lies: (x, y) in units of the half side."""
    axis = (2 * np.arange(len(image)) + 1) / len(image) - 1
    return image.sum(0) @ axis / image.sum(), image.sum(1) @ axis / image.sum()


def test_the_sets_are_those_that_plans_allow():
    assert views.VIEW_SETS == VIEW_SETS


SETS = [
    ("single", 1),
    ("flips4", 4),
    ("dihedral8", 8),
    ("rotations16", 16),
    ("rotations32", 32),
    ("dihedral8-zoom3", 24),
]


@pytest.mark.parametrize(("name", "count"), SETS)
def test_sets_have_so_many_distinct_views_and_the_identity_first(name, count):
    seen = views.view_set(name)
    assert seen.shape == (count, 2, 3)
    assert seen.dtype == np.float32
    assert len(np.unique(seen.round(5), axis=0)) == count
    assert seen[0].tolist() == IDENTITY


def test_rotations16_turn_by_45_degrees():
    turned = views.view_set("rotations16")
    assert sorted({round(float(np.hypot(*m[:, 0])), 5) for m in turned}) == [1]
    assert sum(np.linalg.det(m[:, :2]) < 0 for m in turned) == 8
    angles = {round(float(np.degrees(np.arctan2(m[1, 0], m[0, 0])))) % 360 for m in turned}
    assert angles == {0, 45, 90, 135, 180, 225, 270, 315}


def test_zoom3_holds_three_zooms_of_the_eight():
    zooms = 1 / np.sqrt(np.abs(np.linalg.det(views.view_set("dihedral8-zoom3")[:, :, :2])))
    assert zooms.tolist() == pytest.approx([1.0] * 8 + [0.9] * 8 + [1.1] * 8)


def test_unknown_set_names_the_allowed_ones():
    with pytest.raises(ValueError, match=r"single, flips4, dihedral8, .*; received 'octopus'"):
        views.view_set("octopus")


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [9, 10])
def test_dihedral_is_rot90_then_fliplr_exactly(turns, flip, size):
    image = RNG.integers(0, 256, (size, size), np.uint8)
    expected = np.rot90(image, turns)
    expected = np.fliplr(expected) if flip else expected
    np.testing.assert_array_equal(look(image, views.dihedral(turns, flip)), expected)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_dihedral_then_inverse_gives_back_every_pixel(turns, flip):
    view = np.repeat(views.dihedral(turns, flip), len(IMAGES), axis=0)
    np.testing.assert_array_equal(views.apply(views.apply(IMAGES, view), views.inverse(view)), IMAGES)


@pytest.mark.parametrize("name", views.VIEW_SETS)
def test_every_named_view_then_its_inverse_gives_back_the_galaxy(name):
    spot = blob(0.2, -0.3)
    for view in views.view_set(name)[:, None]:
        again = look(look(spot, view), views.inverse(view))
        assert np.abs(again - spot)[8:-8, 8:-8].max() < 4  # of 100: twice bilinear


@pytest.mark.parametrize("name", views.VIEW_SETS)
def test_inverse_composes_to_the_identity(name):
    seen = views.view_set(name)
    np.testing.assert_allclose(views.compose(seen, views.inverse(seen)), [IDENTITY] * len(seen), atol=1e-6)
    np.testing.assert_allclose(views.compose(views.inverse(seen), seen), [IDENTITY] * len(seen), atol=1e-6)


def test_inverse_undoes_random_views_with_shifts():
    seen = views.random(np.random.default_rng(1), 50, rotation=180, zoom=1.5, shift=0.3, flip=True)
    np.testing.assert_allclose(views.compose(seen, views.inverse(seen)), [IDENTITY] * 50, atol=1e-6)


def test_shift_moves_right_and_down_by_half_sides():
    moved = look(blob(0, 0), views.affine(shift_x=0.4, shift_y=-0.2))
    assert centre(moved) == pytest.approx((0.4, -0.2), abs=0.005)


def test_shift_of_one_pixel_is_exact():
    image = np.arange(100).reshape(10, 10)
    assert look(image, views.affine(shift_x=0.2))[3].tolist() == pytest.approx([30, 30, 31, 32, 33, 34, 35, 36, 37, 38])


def test_rotation_is_counter_clockwise_as_displayed():
    turned = look(blob(0.5, 0), views.affine(30))  # from the right, up
    assert centre(turned) == pytest.approx((0.5 * 3**0.5 / 2, -0.25), abs=0.005)


def test_zoom_magnifies():
    zoomed = look(blob(0.3, 0.2), views.affine(zoom=1.5))
    assert centre(zoomed) == pytest.approx((0.45, 0.3), abs=0.01)
    assert zoomed.sum() == pytest.approx(1.5**2 * blob(0.3, 0.2).sum(), rel=0.01)


def test_turn_zoom_mirror_then_shift():
    seen = look(blob(0.4, 0), views.affine(90, 0.5, 0.3, 0.1, True))  # up, at 0.2; mirrored: up; shifted
    assert centre(seen) == pytest.approx((0.3, -0.1), abs=0.01)
    mirrored = look(blob(0.4, 0), views.affine(0, 1, 0.3, 0, True))  # left, then right
    assert centre(mirrored) == pytest.approx((-0.1, 0), abs=0.01)


def test_affine_is_vectorised():
    many = views.affine([0, 90], [1.0, 2.0], 0.1, [0.2, 0.3], [False, True])
    for i, one in enumerate([views.affine(0, 1.0, 0.1, 0.2, False), views.affine(90, 2.0, 0.1, 0.3, True)]):
        np.testing.assert_array_equal(many[i], one[0])


def test_compose_looks_through_the_first_and_then_the_second():
    first, then = views.affine(30, shift_x=0.1), views.affine(0, 1.2, 0, 0.2)
    at_once = look(blob(0.2, 0.1), views.compose(first, then))
    np.testing.assert_allclose(at_once, look(look(blob(0.2, 0.1), first), then), atol=3)
    assert np.abs(at_once - look(blob(0.2, 0.1), views.compose(then, first))).max() > 10


def test_smaller_output_is_the_central_crop():
    np.testing.assert_array_equal(look(IMAGES[0, :, :, 0], views.affine(), 6), IMAGES[0, 2:8, 2:8, 0])


def test_smaller_output_draws_on_the_margin():
    image = np.arange(100).reshape(10, 10)
    seen = look(image, views.affine(shift_x=0.5), 4)  # half of the half side of 4: one pixel
    assert seen.tolist() == pytest.approx(image[3:7, 2:6].astype(float))


def test_beyond_the_edge_its_pixels_repeat():
    image = np.arange(16).reshape(4, 4)
    assert look(image, views.affine(shift_x=1.0))[1].tolist() == pytest.approx([4, 4, 4, 5])


def test_apply_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"received \(3, 10, 10, 3\) and \(1, 2, 3\)"):
        views.apply(IMAGES, views.affine())


def test_random_views_stay_in_their_ranges_and_fill_them():
    seen = views.random(np.random.default_rng(0), 20_000, rotation=20, zoom=1.3, shift=0.1, flip=True)
    assert seen.shape == (20_000, 2, 3)
    assert seen.dtype == np.float32
    determinant = np.linalg.det(seen[:, :, :2])
    assert np.mean(determinant < 0) == pytest.approx(0.5, abs=0.02)
    zoom = 1 / np.sqrt(np.abs(determinant))
    assert (zoom.min(), zoom.max()) == pytest.approx((1 / 1.3, 1.3), rel=1e-3)
    assert np.mean(np.log(zoom)) == pytest.approx(0, abs=0.005)
    angle = np.degrees(np.arctan2(-seen[:, 0, 1], seen[:, 1, 1]))
    assert (angle.min(), angle.max()) == pytest.approx((-20, 20), abs=0.1)
    shift = -np.einsum("nij,nj->ni", np.linalg.inv(seen[:, :, :2]), seen[:, :, 2])
    assert np.abs(shift).max(axis=0).tolist() == pytest.approx([0.1, 0.1], abs=1e-3)


def test_random_without_ranges_is_the_identity():
    seen = views.random(np.random.default_rng(0), 5, rotation=0, zoom=1, shift=0, flip=False)
    assert seen.tolist() == [IDENTITY] * 5


def test_zooms_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="zoom > 0; received 0"):
        views.affine(zoom=0)
    with pytest.raises(ValueError, match=r">= 1; received 0.9"):
        views.random(np.random.default_rng(0), 1, rotation=0, zoom=0.9, shift=0, flip=False)
