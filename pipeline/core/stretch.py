"""Flux -> grey levels: the asinh stretch of the survey's colour images."""

import numpy as np

SOFTENING = 4.0  # where the stretch turns from linear to logarithmic, in units of the sky's noise
GREY = 43.0  # grey levels per factor e in the logarithmic part


def stretch(scene: np.ndarray) -> np.ndarray:
    """(h, w, 3) light in units of the sky's noise, red to blue -> uint8: a colour-preserving asinh stretch.

    Lupton et al. 2004 (PASP 116, 133).

    All bands are scaled by f(I) / I with I their mean, so that colours survive in bright cores; a pixel
    that would overflow is scaled down as a whole.
    """
    red, green, blue = np.ascontiguousarray(np.moveaxis(np.maximum(scene, 0), -1, 0))  # contiguous: twice as fast
    mean = np.maximum((red + green + blue) / 3, np.float32(1e-3))
    peak = np.maximum(np.maximum(red, green), blue)
    gain = np.float32(GREY) * np.arcsinh(mean / np.float32(SOFTENING)) / mean
    gain *= 255 / np.maximum(gain * peak, 255)
    return np.rint(np.stack([red * gain, green * gain, blue * gain], axis=-1)).astype(np.uint8)
