"""Batches: the same for the same seed and epoch, every galaxy in its turn, padding that nobody sees."""

from itertools import islice

import numpy as np
import pytest

from pipeline.core import views
from pipeline.nn import data
from pipeline.plans.run import POLICIES, Augment

N = 20
IMAGES = np.broadcast_to(np.arange(N, dtype=np.uint8)[:, None, None, None], (N, 4, 4, 3))
LABELS = np.repeat(np.arange(N, dtype=np.float32)[:, None], 37, axis=1)
ROWS = np.arange(2, 18)  # 16 of them


def stream(epochs: range, *, rows=ROWS, batch_size=4, seed=(1, 0), **augment) -> list[tuple]:
    batches = data.training_batches(
        IMAGES, LABELS, rows=rows, batch_size=batch_size, augment=Augment(**augment), seed=seed, epochs=epochs
    )
    return [(batch["image"], batch["view"], labels) for batch, labels in batches]


def same(first: list[tuple], second: list[tuple]) -> bool:
    return len(first) == len(second) and all(
        np.array_equal(a, b) for one, other in zip(first, second, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_every_row_is_seen_once_an_epoch_with_its_own_label():
    for epoch in range(3):
        batches = stream(range(epoch, epoch + 1))
        seen = np.concatenate([labels[:, 0] for _, _, labels in batches])
        assert sorted(seen) == ROWS.tolist()
        np.testing.assert_array_equal(np.concatenate([image[:, 0, 0, 0] for image, _, _ in batches]), seen)


def test_a_rest_that_fills_no_batch_waits_for_another_epoch():
    batches = stream(range(1), batch_size=5)
    seen = np.concatenate([labels[:, 0] for _, _, labels in batches])
    assert len(batches) == data.steps_per_epoch(16, 5) == 3
    assert len(set(seen)) == 15
    assert set(seen) <= set(ROWS)


def test_fewer_rows_than_a_batch_are_repeated():
    ((image, view, labels),) = stream(range(1), rows=np.array([3, 4]), batch_size=5)
    assert sorted(labels[:, 0]) in ([3, 3, 3, 4, 4], [3, 3, 4, 4, 4])
    assert (image.shape, view.shape) == ((5, 4, 4, 3), (5, 2, 3))


def test_an_epoch_depends_on_seed_and_epoch_only():
    assert same(stream(range(2, 3)), stream(range(2, 3)))
    assert not same(stream(range(2, 3)), stream(range(3, 4)))
    assert not same(stream(range(2, 3)), stream(range(2, 3), seed=(2, 0)))
    assert not same(stream(range(2, 3)), stream(range(2, 3), seed=(1, 1)))


def test_a_resumed_stream_is_the_uninterrupted_one():
    assert same(stream(range(5))[12:], stream(range(3, 5)))


def test_views_are_drawn_as_the_plan_says():
    still = np.concatenate([view for _, view, _ in stream(range(1), rotation=0, zoom=1, shift=0, flip=False)])
    assert (still == views.view_set("single")).all()
    turned = np.concatenate([view for _, view, _ in stream(range(1))])
    assert len(np.unique(turned, axis=0)) == 16


def test_the_stored_images_are_not_changed():
    before = IMAGES.copy()
    stream(range(1))
    np.testing.assert_array_equal(IMAGES, before)


@pytest.mark.parametrize(("n", "count"), [(5, 3), (4, 2), (1, 1)])
def test_views_vary_fastest_and_the_last_batch_is_padded(n, count):
    seen = views.view_set("flips4")
    batches = list(data.viewed_batches(IMAGES[:n], seen, 9))  # two images of four views fit
    assert len(batches) == count
    for i, batch in enumerate(batches):
        shown = [min(2 * i + k, n - 1) for k in (0, 1)]
        assert batch["image"][:, 0, 0, 0].tolist() == [shown[0]] * 4 + [shown[1]] * 4
        np.testing.assert_array_equal(batch["view"], np.concatenate([seen, seen]))


def test_more_views_than_a_batch_holds_are_one_image_a_batch():
    batches = list(islice(data.viewed_batches(IMAGES, views.view_set("rotations16"), 4), 2))
    assert [batch["image"].shape[0] for batch in batches] == [16, 16]


@pytest.mark.parametrize("name", [name for name in POLICIES if name != "none"])
def test_every_keras_cv_policy_of_the_plans_changes_uint8_images(name):
    pytest.importorskip("keras_cv", reason="keras_cv is not installed")
    y, x = np.mgrid[:32, :32]
    images = np.repeat((4 * (x + y))[None, :, :, None], 4, axis=0).repeat(3, axis=3).astype(np.uint8)
    made = data.keras_cv_policy(name, seed=1)(images)
    assert made.shape == images.shape
    assert made.dtype == np.uint8
    assert (made != images).any()
    np.testing.assert_array_equal(data.keras_cv_policy(name, seed=1)(images), made)
    assert (data.keras_cv_policy(name, seed=2)(images) != made).any()


def test_no_policy_leaves_images_as_they_are():
    assert data.keras_cv_policy("none", seed=1)(IMAGES) is IMAGES
