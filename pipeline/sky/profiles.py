"""How light is spread: surface-brightness laws, arrays in, arrays out.

Every law is normalised so that its light sums to 1 over the plane (per unit area of x and y) or, for
patterns that modulate a disc, so that it lies between 0 and 1.
"""

import numpy as np
from scipy.special import gamma, i0e, k1


def rotate(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across an axis that stands at `angle` radians."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def elliptical_radius(x: np.ndarray, y: np.ndarray, axis_ratio: float, boxiness: float = 2.0) -> np.ndarray:
    """Radius of the generalised ellipse through (x, y): exponent 2 an ellipse, above 2 a box.

    Source: Athanassoula et al. 1990, MNRAS 245, 130.
    """
    if boxiness == 2.0:
        return np.hypot(x, y / np.float32(axis_ratio))
    power = np.float32(boxiness)
    return (np.abs(x) ** power + np.abs(y / np.float32(axis_ratio)) ** power) ** (1 / power)


def sersic_b(index: float) -> float:
    """b_n that makes the effective radius hold half the light (Ciotti & Bertin 1999, A&A 352, 447)."""
    return 2 * index - 1 / 3 + 4 / (405 * index) + 46 / (25515 * index**2)


def sersic(radius: np.ndarray, half_light: float, index: float, axis_ratio: float = 1.0) -> np.ndarray:
    """Sersic law exp(-b (r / r_e)^(1/n)), unit light (total: Graham & Driver 2005, PASA 22, 118, eq. 4)."""
    b = sersic_b(index)
    total = 2 * np.pi * half_light**2 * axis_ratio * index * b ** (-2 * index) * gamma(2 * index)
    exponent = np.float32(b) * (radius / np.float32(half_light)) ** np.float32(1 / index)
    return np.exp(-exponent) / np.float32(total)


def edge_on_disc(along: np.ndarray, height: np.ndarray, scale: float, thickness: float) -> np.ndarray:
    """An exponential disc from the side, (R/h) K_1(R/h) sech^2(z/z0), unit light.

    Source: van der Kruit & Searle 1981, A&A 95, 105. Integrals: pi h over R, 2 z0 over z.
    """
    r = np.maximum(np.abs(along) / np.float32(scale), np.float32(1e-3))
    vertical = 1 / np.cosh(np.minimum(np.abs(height) / np.float32(thickness), 20)) ** 2
    return r * k1(r) * vertical / np.float32(np.pi * scale * 2 * thickness)


def bar(along: np.ndarray, across: np.ndarray, length: float, axis_ratio: float) -> np.ndarray:
    """A flat, sharp-ended bar of half-length `length`: Ferrers' law 1 - m^2 on a boxy ellipse.

    Source: Athanassoula et al. 1990, MNRAS 245, 130. Unit light for a true ellipse, a few percent more here.
    """
    m = elliptical_radius(along, across, axis_ratio, boxiness=2.8) / np.float32(length)
    return np.maximum(1 - m**2, 0) * np.float32(2 / (np.pi * length**2 * axis_ratio))


def arms(
    radius: np.ndarray, azimuth: np.ndarray, *, number: int, pitch: float, start: float, phase: float = 0.0
) -> np.ndarray:
    """Logarithmic spiral arms r = start exp(azimuth tan(pitch)): brightness over azimuth with mean 1.

    Across the arm a von Mises bump, exp(k cos) / I_0(k); pitch in degrees (Kennicutt 1981, AJ 86, 1847).
    """
    k = 2.2
    winding = np.log(np.maximum(radius, 1e-3) / np.float32(start)) * np.float32(1 / np.tan(np.radians(pitch)))
    crest = np.cos(number * (azimuth - winding) + np.float32(phase))
    return np.exp(np.float32(k) * (crest - 1)) / np.float32(i0e(k))


def ring(radius: np.ndarray, at: float, width: float) -> np.ndarray:
    """A Gaussian ring of unit light at radius `at`."""
    height = 1 / (np.sqrt(2 * np.pi) * width * 2 * np.pi * at)
    return np.exp(-(((radius - at) / np.float32(width)) ** 2) / 2) * np.float32(height)


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between (a cubic step)."""
    t = np.clip((values - low) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)
