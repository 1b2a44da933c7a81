"""What a galaxy is here: physical parameters, and the population they are drawn from.

Lengths are pixels of the 424-pixel frame. The competition scaled every frame to its galaxy (one pixel is 2 %
of the radius that holds 90 % of the light), so near and far galaxies look equally large and differ in how
many *survey* pixels they span: `sampling` is the size of a survey pixel in frame pixels.
"""

from dataclasses import dataclass

import numpy as np

FRAME = 424  # frame width, pixels
SEEING = 1.3  # standard deviation of the point-spread function, survey pixels (1.2 arcsec FWHM, SDSS)
EDGE_ON = 78.0  # inclination in degrees beyond which a disc is drawn (and seen) from the side

ODDITIES = ("ring", "lens or arc", "disturbed", "irregular", "other", "merger", "dust lane")
ODDITY_RATES = (0.05, 0.015, 0.05, 0.035, 0.025, 0.055, 0.01)  # share of all galaxies


@dataclass(frozen=True)
class Galaxy:
    """Physical parameters of one galaxy, and how the survey observed it."""

    kind: str  # elliptical, disc, irregular, star (a star or an artifact, no galaxy at all)
    half_light: float  # radius along the major axis that holds half the light, frame pixels
    sampling: float  # frame pixels per survey pixel: 1.6 near and sharp, 5 far and blurred
    brightness: float  # mean surface brightness inside half_light, in units of the sky's noise
    angle: float  # of the major axis, radians
    redness: float  # colour of disc and arms, from 0 (young, blue) to 1 (old, red)
    axis_ratio: float  # ellipticals: apparent; discs: thickness
    inclination: float  # discs: degrees from face-on
    sersic: float  # index of ellipticals and bulges: 1 exponential, 4 de Vaucouleurs
    bulge: float  # bulge-to-total light
    boxy: bool  # shape of an edge-on bulge
    bar: float  # share of the disc's light: 0 none, 0.4 strong
    bar_angle: float  # in the disc's plane, radians
    arms: int  # number of spiral arms, 0 none
    arm_contrast: float  # 0 none, 1 all of the disc's light in its arms
    pitch: float  # degrees: 8 tightly wound, 35 loose
    flocculence: float  # 0 grand design, 1 a patchwork with no countable arms
    oddity: str  # one of ODDITIES, or "" for none
    oddity_strength: float  # 0 to 1

    @property
    def apparent_axis_ratio(self) -> float:
        """Minor over major axis on the sky; discs: q^2 = q0^2 + (1 - q0^2) cos^2 i (Hubble 1926)."""
        if self.kind != "disc":
            return self.axis_ratio
        thin = self.axis_ratio**2
        return float(np.sqrt(thin + (1 - thin) * np.cos(np.radians(self.inclination)) ** 2))

    @property
    def edge_on(self) -> bool:
        """Whether it is a disc seen from the side."""
        return self.kind == "disc" and self.inclination > EDGE_ON

    @property
    def detail(self) -> float:
        """Resolution elements in the half-light radius: how finely the survey saw it."""
        return self.half_light / (SEEING * self.sampling)


def sample(rng: np.random.Generator) -> Galaxy:
    """Draw one galaxy from a population that resembles Galaxy Zoo 2's."""
    kind = rng.choice(["elliptical", "disc", "irregular", "star"], p=[0.36, 0.585, 0.035, 0.02])
    oddity = _sample_oddity(rng, kind)
    common = {
        "kind": str(kind),
        "sampling": _clip(rng.lognormal(np.log(3.1), 0.28), 1.8, 5.5),
        "brightness": _clip(rng.lognormal(np.log(22), 0.45), 5, 60),
        "angle": rng.uniform(0, np.pi),
        "oddity": oddity,
        "oddity_strength": rng.uniform(0.4, 1) if oddity else 0.0,
    }
    return Galaxy(**common, **_sample_disc(rng, oddity) if kind == "disc" else _sample_spheroid(rng, kind))


def _sample_oddity(rng: np.random.Generator, kind: str) -> str:
    """At most one oddity; only discs have rings and dust lanes, irregulars are always irregular."""
    rates = np.array(ODDITY_RATES)
    oddity = str(rng.choice(["", *ODDITIES], p=[1 - rates.sum(), *rates]))
    if kind == "irregular":
        return "irregular"
    if kind == "star" or (kind == "elliptical" and oddity in ("ring", "irregular", "dust lane")):
        return ""
    return oddity


def _sample_spheroid(rng: np.random.Generator, kind: str) -> dict:
    """Ellipticals (red, concentrated), irregulars (blue, diffuse) and stars: nothing that needs a disc."""
    blue = kind == "irregular"
    return {
        "half_light": rng.uniform(28, 46),
        "redness": rng.beta(2, 6) if blue else rng.beta(4, 1.5),
        "axis_ratio": rng.uniform(0.4, 0.9) if blue else _clip(1 - abs(rng.normal(0, 0.38)), 0.22, 1),
        "inclination": 0.0,
        "sersic": 1.0 if blue else rng.uniform(1.6, 3.8),
        "bulge": 0.0,
        "boxy": False,
        "bar": 0.0,
        "bar_angle": 0.0,
        "arms": 0,
        "arm_contrast": 0.0,
        "pitch": 0.0,
        "flocculence": 0.0,
    }


def _sample_disc(rng: np.random.Generator, oddity: str) -> dict:
    """Discs seen from a random direction; early types have larger bulges, weaker and tighter arms."""
    late = rng.beta(1.6, 1.6)  # 0 an S0 or Sa, 1 an Sd
    inclination = float(np.degrees(np.arccos(rng.uniform(0, 1))))
    dusty = oddity == "dust lane"
    if dusty:  # seen only from the side, and only in front of something thick
        inclination, late = rng.uniform(84, 90), 0.4 * late
    has_arms = rng.uniform() < 0.85 and late > 0.12
    return {
        "half_light": rng.uniform(33, 52),
        "redness": _clip(rng.normal(0.75 - 0.65 * late, 0.13), 0, 1),
        "axis_ratio": rng.uniform(0.26, 0.36) if dusty else rng.uniform(0.12, 0.24),
        "inclination": inclination,
        "sersic": rng.uniform(1.5, 4 - 2 * late),
        "bulge": _clip(0.6 * (1 - late) ** 1.5 + rng.normal(0, 0.06), 0, 0.75),
        "boxy": bool(rng.uniform() < 0.3),
        "bar": rng.uniform(0.15, 0.4) if rng.uniform() < 0.38 else 0.0,
        "bar_angle": rng.uniform(0, np.pi),
        "arms": int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.06, 0.6, 0.15, 0.08, 0.06, 0.05])) if has_arms else 0,
        "arm_contrast": rng.uniform(0.35, 1) if has_arms else 0.0,
        "pitch": _clip(rng.normal(9 + 15 * late, 5), 6, 40),
        "flocculence": rng.beta(1, 3.5),
    }


def _clip(value: float, low: float, high: float) -> float:
    """A plain float: NumPy's would turn every float32 array that it meets into float64."""
    return float(min(max(value, low), high))
