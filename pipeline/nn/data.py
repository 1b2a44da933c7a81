"""Crop arrays -> batches. The arrays stay uint8 and in place; augmentation happens in the network."""

from collections.abc import Callable, Iterator

import numpy as np

from pipeline.core import views
from pipeline.plans.run import Augment

Batch = tuple[dict[str, np.ndarray], np.ndarray]


def training_batches(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    rows: np.ndarray,
    batch_size: int,
    augment: Augment,
    seed: tuple[int, ...],
    epochs: range,
) -> Iterator[Batch]:
    """The stream of `epochs`: shuffled full batches of ({"image", "view"}, labels).

    images uint8 (n, s, s, 3), labels (n, c); only `rows` are used. Order and views of an epoch depend on seed
    and epoch alone, so a resumed run continues the same stream.
    """
    for epoch in epochs:
        rng = np.random.default_rng((*seed, epoch))
        policy = keras_cv_policy(augment.policy, seed=int(rng.integers(2**31)))
        for chosen in shuffled_batches(rng, rows, batch_size):
            seen = views.random(
                rng,
                batch_size,
                rotation=augment.rotation,
                zoom=augment.zoom,
                shift=augment.shift,
                flip=augment.flip,
            )
            yield {"image": policy(images[chosen]), "view": seen}, labels[chosen]


def feature_batches(
    features: np.ndarray, labels: np.ndarray, *, rows: np.ndarray, batch_size: int, seed: tuple[int, ...], epochs: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same stream for pooled features (n, d), which are not augmented: full batches of (features, labels)."""
    for epoch in range(epochs):
        for chosen in shuffled_batches(np.random.default_rng((*seed, epoch)), rows, batch_size):
            yield features[chosen], labels[chosen]


def shuffled_batches(rng: np.random.Generator, rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """The full batches (batch_size,) of one epoch's rows in random order; rows begin anew where they do not suffice."""
    order = rng.permutation(rows)
    for start in range(0, steps_per_epoch(len(rows), batch_size) * batch_size, batch_size):
        yield np.take(order, range(start, start + batch_size), mode="wrap")


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Full batches an epoch; one, filled by repeating rows, where there are fewer rows than that."""
    return max(1, n // batch_size)


def viewed_batches(images: np.ndarray, seen: np.ndarray, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches of fixed size with every view of every image folded in: views vary fastest; the last one is padded.

    images uint8 (n, s, s, 3), seen (v, 2, 3); each batch holds max(1, batch_size // v) images.
    """
    per_batch = max(1, batch_size // len(seen))
    matrices = np.tile(seen, (per_batch, 1, 1))
    for start in range(0, len(images), per_batch):
        block = np.asarray(images[start : start + per_batch])
        if len(block) < per_batch:
            block = np.concatenate([block, np.repeat(block[-1:], per_batch - len(block), axis=0)])
        yield {"image": np.repeat(block, len(seen), axis=0), "view": matrices}


def keras_cv_policy(name: str, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A KerasCV augmentation of uint8 batches by name ("none": as they are). TensorFlow backend only."""
    if name == "none":
        return lambda images: images
    import keras_cv
    import tensorflow as tf

    tf.random.set_seed(seed)  # some of its layers draw from TensorFlow's own numbers
    layer = {
        "rand-augment": lambda: keras_cv.layers.RandAugment(
            (0, 255), augmentations_per_image=2, magnitude=0.2, geometric=False, seed=seed
        ),
        "cutout": lambda: keras_cv.layers.RandomCutout(0.3, 0.3, seed=seed),
        "color-jitter": lambda: keras_cv.layers.RandomColorJitter((0, 255), 0.1, 0.1, 0.1, 0.02, seed=seed),
    }[name]()

    def augment(images: np.ndarray) -> np.ndarray:
        changed = layer(tf.cast(images, tf.float32), training=True)
        return tf.cast(tf.clip_by_value(changed, 0, 255), tf.uint8).numpy()

    return augment
