"""What looks unlike the galaxies trained on: about as few new ones as held-out ones, where these are of one kind."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.models import training_galaxies
from pipeline.models.training_galaxies import TrainingGalaxies

D = 400


def seen(rng: np.random.Generator, n: int) -> np.ndarray:
    """Features (n, D) as networks make them: not negative, most of them seldom other than 0."""
    often = np.linspace(0.001, 0.6, D)
    return (rng.exponential(1.0, (n, D)) * (rng.random((n, D)) < often)).astype(np.float32)


def made(monkeypatch, features: np.ndarray) -> TrainingGalaxies:
    """Of features of training galaxies, a third of which are held out."""
    rows = np.arange(len(features))
    monkeypatch.setattr(training_galaxies, "_compared", lambda _: (rows, rows, rows, rows % 3 == 0))
    return TrainingGalaxies(SimpleNamespace(features=lambda images, _: features[images]))


@pytest.mark.parametrize("n", [300, 1500])
def test_new_galaxies_of_the_same_kind_are_seldom_unlike(monkeypatch, n):
    rng = np.random.default_rng(3)
    share = np.mean([made(monkeypatch, seen(rng, n)).unlike(seen(rng, 400)).mean() for _ in range(5)])
    assert 0 < share < 0.03  # 1 % or, of few, one in as many as are held out and one more


def test_galaxies_of_another_kind_are_unlike(monkeypatch):
    rng = np.random.default_rng(4)
    compared = made(monkeypatch, seen(rng, 600))
    assert compared.unlike(seen(rng, 50)[:, ::-1] * 3).mean() > 0.95
