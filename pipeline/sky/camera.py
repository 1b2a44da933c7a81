"""Light -> the survey's image: field stars and galaxies, seeing, noise, colour stretch, JPEG."""

import cv2
import numpy as np

from pipeline.core.stretch import stretch
from pipeline.sky import profiles
from pipeline.sky.galaxy import FRAME, SEEING, Galaxy
from pipeline.sky.starlight import colour

JPEG_QUALITY = 75  # the quantisation tables of the competition's files
LEFT_OVER_SKY = 0.12  # spread of what sky subtraction left in each band, in units of the sky's noise
GAIN = 60.0  # light, in units of the sky's noise, that doubles the variance of the noise


def photograph(light: np.ndarray, galaxy: Galaxy, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) light, red to blue, units of the sky's noise -> (424, 424, 3) uint8 RGB.

    Stretched and compressed on the survey's pixels, enlarged afterwards, as the competition's frames were:
    enlarged pixels and compressed colour give the noise its grain.
    """
    scene = light.copy()
    _add_field(scene, rng)
    if galaxy.kind == "star":
        _add_star_or_trail(scene, rng)
    scene = blur(scene) + rng.normal(0.05, LEFT_OVER_SKY, 3).astype(np.float32)
    picture = from_jpeg(to_jpeg(stretch(add_noise(scene, rng))))
    return cv2.resize(picture, (FRAME, FRAME), interpolation=cv2.INTER_CUBIC)


def blur(scene: np.ndarray) -> np.ndarray:
    """Seeing: a Gaussian, and a tenth of the light in wings three times as wide (SDSS's double Gaussian)."""
    core = cv2.GaussianBlur(scene, (0, 0), SEEING)
    wings = cv2.GaussianBlur(scene, (0, 0), 3 * SEEING)
    return 0.9 * core + 0.1 * wings


def add_noise(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photon noise of sky and source: variance 1 + light / GAIN, in units of the sky's."""
    grain = rng.standard_normal(scene.shape, dtype=np.float32)
    return scene + grain * np.sqrt(1 + np.maximum(scene, 0) / np.float32(GAIN))


def to_jpeg(image: np.ndarray) -> bytes:
    """(h, w, 3) uint8 RGB -> the bytes of a JPEG file."""
    done, buffer = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} and type {image.dtype}")
    return buffer.tobytes()


def from_jpeg(data: bytes) -> np.ndarray:
    """The bytes of a JPEG file -> (h, w, 3) uint8 RGB."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _add_field(scene: np.ndarray, rng: np.random.Generator) -> None:
    """Stars in front and galaxies behind, more of them where the frame spans more sky."""
    side = scene.shape[0]
    sky = (side / 150) ** 2
    for flux in 60 * (1 + rng.pareto(0.9, rng.poisson(4 * sky))):
        _add_star(scene, rng.uniform(2, side - 2, 2), min(flux, 6e4), rng)
    for flux in 50 * (1 + rng.pareto(1.2, rng.poisson(5 * sky))):
        _add_background_galaxy(scene, rng.uniform(2, side - 2, 2), min(flux, 3000), rng)


def _add_star(scene: np.ndarray, at: tuple[float, float], flux: float, rng: np.random.Generator) -> None:
    """A point that the seeing will spread; bright ones get the four spikes of the mirror's supports."""
    row, column = (int(v) for v in at)
    shade = colour(1.1 * rng.beta(0.9, 0.9))
    scene[row, column] += np.float32(flux) * shade
    if flux > 15000:
        _add_spikes(scene, row, column, flux, shade, rng.uniform(0, np.pi / 2))


def _add_star_or_trail(scene: np.ndarray, rng: np.random.Generator) -> None:
    """In place of a galaxy: a saturated star, or the trail of a satellite through one band."""
    middle = scene.shape[0] / 2
    if rng.uniform() < 0.7:
        _add_star(scene, (middle, middle), rng.uniform(2e4, 8e4), rng)
        return
    axis = np.arange(scene.shape[0], dtype=np.float32) - np.float32(middle)
    across = profiles.rotate(axis[None, :], axis[:, None], rng.uniform(0, np.pi))[1]
    scene[..., rng.integers(3)] += np.float32(rng.uniform(5, 50)) * np.exp(-(across**2))


def _add_spikes(scene: np.ndarray, row: int, column: int, flux: float, shade: np.ndarray, angle: float) -> None:
    """Diffraction spikes and the halo of scattered light around a saturated star."""
    y, x = np.ogrid[-row : scene.shape[0] - row, -column : scene.shape[1] - column]
    u, v = profiles.rotate(x.astype(np.float32), y.astype(np.float32), angle)
    length = np.float32(3 + flux / 8000)
    spikes = np.exp(-np.abs(u) / length - v**2) + np.exp(-np.abs(v) / length - u**2)
    halo = 1 / (1 + (u**2 + v**2) / np.float32(9)) ** np.float32(1.3)
    scene += ((spikes + 0.5 * halo) * np.float32(flux * 0.003))[..., None] * shade


def _add_background_galaxy(scene: np.ndarray, at: tuple[float, float], flux: float, rng: np.random.Generator) -> None:
    """A small exponential disc, red to blue, drawn in a box around it."""
    row, column = (int(v) for v in at)
    size, q = rng.uniform(0.8, 2.5), rng.uniform(0.3, 1)
    reach = int(4 * size) + 1
    rows, columns = (slice(max(v - reach, 0), v + reach + 1) for v in (row, column))
    y, x = np.ogrid[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column]
    u, v = profiles.rotate(x.astype(np.float32), y.astype(np.float32), rng.uniform(0, np.pi))
    radius = profiles.elliptical_radius(u, v, q)
    disc = np.float32(flux) * profiles.sersic(radius, size, 1.0, q)
    room = scene[rows, columns]
    room += disc[: room.shape[0], : room.shape[1], None] * colour(rng.uniform(0, 1))
