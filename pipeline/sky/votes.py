"""One galaxy -> 37 vote fractions: simulated volunteers walk the decision tree.

`probabilities` says how likely a volunteer who is asked gives each answer; `vote` asks about forty of them.
What the survey blurred or drowned in noise they cannot see: then they say "smooth".
"""

import numpy as np

from pipeline.core import tree
from pipeline.plans.label_schemas import galaxy_zoo_2
from pipeline.sky.galaxy import EDGE_ON, ODDITIES, Galaxy

VOLUNTEERS = (36, 52)  # how many classified a galaxy, at least and below


def vote(galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """(37,) vote fractions of about forty volunteers, columns as in Galaxy Zoo 2.

    Whole counts are drawn down the tree and divided by the number of volunteers, so each question's answers
    sum to the fraction that reached it; what nobody was asked is 0. Question 6 is put to everyone, as in
    the competition's files.
    """
    schema, likely = galaxy_zoo_2(), probabilities(galaxy)
    counts = np.zeros(len(schema.columns))
    volunteers = int(rng.integers(*VOLUNTEERS))
    for columns, parents in tree.in_tree_order(schema):
        asked = int(counts[parents].sum()) if parents else volunteers
        counts[columns] = rng.multinomial(asked, likely[columns])
    return counts / volunteers


def probabilities(galaxy: Galaxy) -> np.ndarray:
    """(37,) probability of each answer for a volunteer who is asked its question; each question sums to 1."""
    answers = np.concatenate([question(galaxy) for question in _QUESTIONS])
    for columns in galaxy_zoo_2().slices:
        answers[columns] /= answers[columns].sum()
    return answers


def clarity(galaxy: Galaxy) -> float:
    """How well structure can be seen, 0 to 1: finely resolved and bright against the sky's noise."""
    resolved = _logistic(2.2 * np.log(galaxy.detail / 4.5))
    return resolved * _logistic(1.8 * np.log(galaxy.brightness / 8))


def _logistic(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def _ordered(value: float, thresholds: tuple[float, ...], blur: float) -> np.ndarray:
    """Answers along a scale: a volunteer compares value + logistic noise of width `blur` with thresholds."""
    above = np.array([1.0, *(_logistic((value - t) / blur) for t in thresholds), 0.0])
    return above[:-1] - above[1:]


def _visibility(galaxy: Galaxy) -> dict[str, float]:
    """Visibility of each structure to a volunteer, 0 to 1."""
    eye = clarity(galaxy)
    face = _logistic((68 - galaxy.inclination) / 5) if galaxy.kind == "disc" else 0.0
    return {
        "edge": _logistic((galaxy.inclination - EDGE_ON) / 1.5) if galaxy.kind == "disc" else 0.0,
        "arms": eye * face * galaxy.arm_contrast * (1 - 0.3 * galaxy.flocculence),
        "bar": eye * face * galaxy.bar / 0.4,
        "oddity": (0.35 + 0.65 * eye) * galaxy.oddity_strength,
    }


def _smooth_or_features(galaxy: Galaxy) -> np.ndarray:
    if galaxy.kind == "star":
        return np.array([0.1, 0.05, 0.85])
    seen = _visibility(galaxy)
    odd = seen["oddity"] * (0.35 if galaxy.oddity in ("other", "merger", "lens or arc") else 0.9)
    evidence = seen["arms"] + 0.6 * seen["bar"] + 0.75 * seen["edge"] + odd
    flat = 1.0 if galaxy.kind == "disc" else 0.0
    features = _logistic(-2.6 + 1.1 * flat + 7.5 * evidence - 0.8 * galaxy.bulge)
    return np.array([0.985 * (1 - features), 0.985 * features, 0.015])


def _edge_on(galaxy: Galaxy) -> np.ndarray:
    flat = 0.2 if galaxy.apparent_axis_ratio < 0.4 else 0.03
    yes = 0.02 + 0.95 * _visibility(galaxy)["edge"] if galaxy.kind == "disc" else flat
    return np.array([yes, 1 - yes])


def _bar(galaxy: Galaxy) -> np.ndarray:
    yes = 0.05 + 0.9 * _logistic(13 * (_visibility(galaxy)["bar"] - 0.35))
    return np.array([yes, 1 - yes])


def _spiral(galaxy: Galaxy) -> np.ndarray:
    yes = 0.03 + 0.95 * _logistic(13 * (_visibility(galaxy)["arms"] - 0.24))
    return np.array([yes, 1 - yes])


def _bulge(galaxy: Galaxy) -> np.ndarray:
    return _ordered(galaxy.bulge**0.5, (0.08, 0.44, 0.74), 0.06)


def _odd(galaxy: Galaxy) -> np.ndarray:
    yes = 0.9 if galaxy.kind == "star" else _logistic(-2.9 + 6.5 * _visibility(galaxy)["oddity"])
    return np.array([yes, 1 - yes])


def _roundness(galaxy: Galaxy) -> np.ndarray:
    """Seeing rounds what it blurs: axes add its width in quadrature."""
    blur = 0.5 / galaxy.detail
    ratio = np.hypot(galaxy.apparent_axis_ratio, blur) / np.hypot(1, blur)
    return _ordered(-ratio, (-0.76, -0.36), 0.05)


def _odd_feature(galaxy: Galaxy) -> np.ndarray:
    """Mostly the true one, blurred into its look-alikes; with nothing odd to see, whatever comes to mind."""
    base = np.array([0.08, 0.04, 0.12, 0.12, 0.48, 0.12, 0.04])
    if not galaxy.oddity:
        return base
    alike = {
        "ring": {"lens or arc": 0.1, "other": 0.1},
        "lens or arc": {"ring": 0.15, "other": 0.25},
        "disturbed": {"irregular": 0.2, "merger": 0.15, "other": 0.1},
        "irregular": {"disturbed": 0.2, "other": 0.1},
        "other": {"merger": 0.1},
        "merger": {"disturbed": 0.15, "other": 0.1},
        "dust lane": {"other": 0.15},
    }[galaxy.oddity]
    alike[galaxy.oddity] = 1 - sum(alike.values())
    true = np.array([alike.get(name, 0) for name in ODDITIES])
    sure = 0.9 * _logistic(6 * (_visibility(galaxy)["oddity"] - 0.3))
    return sure * true + (1 - sure) * base


def _bulge_from_the_side(galaxy: Galaxy) -> np.ndarray:
    seen = _logistic(18 * (galaxy.bulge**0.5 - 0.32))
    boxy = 0.7 if galaxy.boxy else 0.07
    return np.array([seen * (1 - boxy), seen * boxy, 1 - seen])


def _wound(galaxy: Galaxy) -> np.ndarray:
    return _ordered(galaxy.pitch, (15, 23), 2)


def _arm_count(galaxy: Galaxy) -> np.ndarray:
    """The true number or a neighbour, or "can't tell" when the arms are patchy, blurred or many."""
    many = 0.35 * max(galaxy.arms - 3, 0)
    lost = _logistic(-2.4 + 5 * galaxy.flocculence + 2.5 * (0.6 - clarity(galaxy)) + many)
    number = np.arange(1, 6)
    near = np.exp(-np.abs(number - np.clip(galaxy.arms or 2, 1, 5)) / 0.45)
    return np.append((1 - lost) * near / near.sum(), lost)


_QUESTIONS = (
    _smooth_or_features,
    _edge_on,
    _bar,
    _spiral,
    _bulge,
    _odd,
    _roundness,
    _odd_feature,
    _bulge_from_the_side,
    _wound,
    _arm_count,
)
