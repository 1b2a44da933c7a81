"""Whether galaxies look like those that an ensemble was trained on: the features of one of its networks, compared."""

import contextlib
import logging

import numpy as np
from tqdm import tqdm

from pipeline.core import novelty
from pipeline.errors import UserError
from pipeline.models.classifier import Classifier

log = logging.getLogger(__name__)
COMPARED, SEED = 2000, 0  # training galaxies compared with, which
UNLIKE = "looks unlike the galaxies trained on"  # how a caveat begins
FEW = round(1 / novelty.SHARE)  # held-out galaxies; fewer have no such share
MANY = 5  # times the usual share of unlike galaxies that is told as a warning


class TrainingGalaxies:
    """Some of the training galaxies, as the network `compares` of an ensemble, that of fold 0, sees them.

    `ids` (m,), `features` (m, d), standardised. UserError where the plan's crops or folds are missing or damaged.
    """

    def __init__(self, classifier: Classifier):
        images, ids, rows, held_out = _compared(classifier)
        self.ids, self._images, self._rows = ids, images, rows
        with tqdm(total=len(rows), desc="training galaxies", unit="galaxy", leave=False) as bar:
            features = classifier.features(images[rows], bar.update)
        # by those trained on alone: the held-out ones, too, shall be as new to it as those that are to be told
        self._centre, self._width = novelty.scale(features[~held_out] if not held_out.all() else features)
        self.features = self.standard(features)
        self._trained_on = self.features[~held_out]
        self._within = novelty.largest_distance(self.features, held_out)
        self.held_out = int(held_out.sum())  # by which the limit of what is unlike is set
        self.tells = bool(np.isfinite(self._within))  # whether anything can be told to be unlike them

    def picture(self, i: int) -> np.ndarray:
        """The crop uint8 (s, s, 3) of one of them."""
        return self._images[self._rows[i]]

    def standard(self, features: np.ndarray) -> np.ndarray:
        """Features (n, d) on the scale of `features`."""
        return (features - self._centre) / self._width

    def unlike(self, features: np.ndarray) -> np.ndarray:
        """Which galaxies of features (n, d), not standardised, are unlike those trained on: bool (n,)."""
        if not self.tells:
            return np.zeros(len(features), bool)
        return novelty.nearest(self.standard(features), self._trained_on) > self._within

    def caveats(self, features: np.ndarray) -> list[str]:
        """The caveat of each galaxy of features (n, d), not standardised; "" for those that are not unlike."""
        said = f"{UNLIKE}: {1 - novelty.SHARE:.0%} of the held-out ones are more like them"
        if self.held_out < FEW:
            said = f"{UNLIKE}: all {self.held_out} held-out ones are more like them, too few to be sure"
        return [said if unlike else "" for unlike in self.unlike(features)]


def _compared(classifier: Classifier) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(crops of all training galaxies; of m that are compared: ids, rows among the crops, which are held out)."""
    store, crop = classifier.store, classifier.members[classifier.compares].run.crop
    images, ids = store.load_crops(crop, "train")
    seen = np.flatnonzero(~np.isin(ids, store.set_aside(crop, "train")))
    rows = np.sort(np.random.default_rng(SEED).permutation(seen)[:COMPARED])
    return images, ids[rows], rows, store.load_folds().loc[ids[rows]].to_numpy() == 0


def training_galaxies_if_there(classifier: Classifier) -> TrainingGalaxies | None:
    """See the class; None, and a warning in the log, where they cannot be used, as where the ensemble was moved."""
    why = "fold 0 holds all of them, or none"
    try:
        if (made := TrainingGalaxies(classifier)).tells:
            if made.held_out < FEW:
                log.warning(
                    "classify   what looks unlike the galaxies trained on is a rough guess: "
                    "%d held-out ones set its limit, which takes %d",
                    made.held_out,
                    FEW,
                )
            return made
    except UserError as error:
        why = str(error)
    log.warning("classify   what looks unlike the galaxies trained on is not told: %s", why)
    return None


def log_unlike(stage: str, unlike: int, galaxies: int, classifier: Classifier) -> None:
    """Say how many galaxies look unlike those trained on: as a warning where these are many."""
    usual = novelty.SHARE
    with contextlib.suppress(UserError):  # a table that was made while the crops were there
        held_out = int(_compared(classifier)[3].sum())
        usual = max(usual, 1 / (held_out + 1))  # beyond the farthest of few is the share of one more
    log.log(
        logging.WARNING if unlike > MANY * usual * galaxies else logging.INFO,
        "%-10s %s of %s galaxies look unlike those trained on, as their caveats say; %.0f %% is usual",
        stage,
        f"{unlike:,}",
        f"{galaxies:,}",
        100 * usual,
    )
