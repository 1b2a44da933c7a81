"""Synthetic galaxies: known answers, exact sums, reproducible files."""

import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.core import tree
from pipeline.sky import camera, profiles, survey
from pipeline.sky.galaxy import Galaxy
from pipeline.sky.render import light, render
from pipeline.sky.votes import clarity, probabilities, vote
from tests.builders.galaxy_zoo_2 import GZ2

ELLIPTICAL = Galaxy(
    kind="elliptical",
    half_light=36,
    sampling=2.5,
    brightness=25,
    angle=0.6,
    redness=0.9,
    axis_ratio=0.97,
    inclination=0,
    sersic=3,
    bulge=0,
    boxy=False,
    bar=0,
    bar_angle=0,
    arms=0,
    arm_contrast=0,
    pitch=0,
    flocculence=0,
    oddity="",
    oddity_strength=0,
)
SPIRAL = replace(
    ELLIPTICAL,
    kind="disc",
    half_light=42,
    sampling=2,
    redness=0.2,
    axis_ratio=0.18,
    inclination=20,
    sersic=1.5,
    bulge=0.12,
    bar=0.33,
    bar_angle=0.5,
    arms=2,
    arm_contrast=0.9,
    pitch=20,
)
EDGE_ON = replace(SPIRAL, inclination=88, bar=0, bulge=0.25)
FACE_ON_DISC = replace(SPIRAL, inclination=0, bulge=0, bar=0, arms=0, arm_contrast=0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def polls(galaxy: Galaxy, n: int = 40) -> dict[str, float]:
    """Mean vote fraction of each column over n polls of the same galaxy."""
    generator = rng()
    return dict(zip(GZ2.columns, np.mean([vote(galaxy, generator) for _ in range(n)], axis=0), strict=True))


@pytest.fixture(scope="module")
def votes() -> np.ndarray:
    return np.array([survey.observe(seed=5, index=i)[1] for i in range(2000)])  # (2000, 37)


# ---- volunteers --------------------------------------------------------------------------------------------


def test_every_sum_of_the_tree_holds(votes):
    assert tree.violations(GZ2, votes).max() < 1e-12
    assert votes.min() >= 0
    assert votes.max() <= 1


def test_every_answer_is_given_somewhere(votes):
    assert dict(zip(GZ2.columns, votes.max(axis=0) > 0.3, strict=True)) == dict.fromkeys(GZ2.columns, True)


def test_population_resembles_galaxy_zoo(votes):
    mean = dict(zip(GZ2.columns, votes.mean(axis=0), strict=True))
    assert 0.35 < mean["Class1.1"] < 0.55
    assert 0.01 < mean["Class1.3"] < 0.05
    assert 0.08 < mean["Class2.1"] < 0.17
    assert 0.06 < mean["Class3.1"] < 0.16
    assert 0.15 < mean["Class4.1"] < 0.32


def test_volunteers_know_a_round_elliptical():
    seen = polls(ELLIPTICAL)
    assert seen["Class1.1"] > 0.8
    assert seen["Class7.1"] > 0.9 * seen["Class1.1"]
    assert seen["Class6.2"] > 0.8


def test_volunteers_know_a_barred_spiral_with_two_arms():
    seen = polls(SPIRAL)
    assert seen["Class1.2"] > 0.85
    assert seen["Class3.1"] > 0.75 * seen["Class2.2"] > 0.6
    assert seen["Class4.1"] > 0.85 * seen["Class2.2"]
    assert seen["Class11.2"] > 0.6 * seen["Class4.1"]


def test_volunteers_know_an_edge_on_disc_and_its_bulge():
    rounded, boxy, none = (polls(replace(EDGE_ON, **change)) for change in ({}, {"boxy": True}, {"bulge": 0.0}))
    for seen, column in ((rounded, "Class9.1"), (boxy, "Class9.2"), (none, "Class9.3")):
        assert seen["Class2.1"] > 0.8
        assert seen[column] > 0.55 * seen["Class2.1"]


def test_blur_and_noise_make_volunteers_say_smooth():
    faint = replace(SPIRAL, sampling=5.5, brightness=5)
    assert clarity(faint) < 0.2 < 0.7 < clarity(SPIRAL)
    assert probabilities(faint)[0] > probabilities(SPIRAL)[0] + 0.3


# ---- light -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [1.0, 2.5, 4.0])
def test_half_light_radius_holds_half_the_light(index):
    axis = np.arange(-600, 600, dtype=np.float32) + 0.5
    radius = np.hypot(*np.meshgrid(axis, axis))
    flux = profiles.sersic(radius, 30, index)
    assert flux[radius < 30].sum() == pytest.approx(0.5, abs=0.02)
    assert flux.sum() == pytest.approx(1, abs=0.06)  # the wings of a de Vaucouleurs law reach farther


def test_edge_on_disc_has_unit_light():
    x, y = np.meshgrid(np.arange(-300, 301, dtype=np.float32), np.arange(-60, 61, dtype=np.float32))
    assert profiles.edge_on_disc(x, y, 25, 5).sum() == pytest.approx(1, abs=0.02)


def axis_ratio(flux: np.ndarray) -> float:
    """Minor over major axis from the second moments of an (h, w) picture."""
    y, x = np.indices(flux.shape) - (np.array(flux.shape) - 1)[:, None, None] / 2
    xx, yy, xy = ((flux * p).sum() for p in (x * x, y * y, x * y))
    small, large = np.linalg.eigvalsh([[xx, xy], [xy, yy]])
    return float(np.sqrt(small / large))


@pytest.mark.parametrize("drawn", [0.35, 0.6, 0.95])
def test_shape_of_an_elliptical_is_the_drawn_one(drawn):
    flux = light(replace(ELLIPTICAL, axis_ratio=drawn, sersic=1), rng()).sum(axis=2)
    assert axis_ratio(flux) == pytest.approx(drawn, abs=0.02)


@pytest.mark.parametrize("inclination", [0, 45, 70])
def test_inclined_disc_follows_hubble(inclination):
    disc = replace(FACE_ON_DISC, inclination=inclination)
    assert axis_ratio(light(disc, rng()).sum(axis=2)) == pytest.approx(disc.apparent_axis_ratio, abs=0.03)


def test_arms_repeat_at_their_symmetry():
    """Two arms look the same after half a turn, and unlike themselves after a quarter."""
    spiral = replace(FACE_ON_DISC, arms=2, arm_contrast=0.9, redness=1.0, sampling=2)  # old: hardly any knots
    flux = np.log(cv2.GaussianBlur(light(spiral, rng()).sum(axis=2), (0, 0), 3) + 1)
    flux = flux[60:-60, 60:-60]
    half, quarter = (np.corrcoef(flux.ravel(), np.rot90(flux, k).ravel())[0, 1] for k in (2, 1))
    assert half > quarter + 0.05


def test_ellipticals_are_redder_than_spirals():
    red, blue = (light(g, rng()).sum(axis=(0, 1)) for g in (ELLIPTICAL, SPIRAL))
    assert red[0] / red[2] > 1.5 * blue[0] / blue[2]


# ---- pictures and files ------------------------------------------------------------------------------------


def test_picture_has_the_competition_format():
    image = render(SPIRAL, rng())
    assert image.shape == (424, 424, 3)
    assert image.dtype == np.uint8
    corner, core = image[:40, :40].mean(), image[202:222, 202:222].mean()
    assert corner < 20 < 100 < core
    assert np.array_equal(image, render(SPIRAL, rng()))
    assert not np.array_equal(image, render(SPIRAL, rng(1)))


def test_stretch_keeps_colour_where_it_saturates():
    bright = np.full((1, 1, 3), [3e5, 2e5, 1e5], np.float32)
    assert camera.stretch(bright)[0, 0] == pytest.approx([255, 170, 85], abs=1)
    assert camera.stretch(-bright).max() == 0


def test_contact_sheet_fills_its_last_row():
    sheet = survey.contact_sheet([np.full((2, 3, 3), i, np.uint8) for i in (1, 2, 3)], columns=2)
    assert sheet[::2, ::3, 0].tolist() == [[1, 2], [3, 0]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sky")
    survey.draw(folder, n_train=40, n_test=30, seed=3, workers=1, progress=False)
    return folder


def read_csv(path) -> pd.DataFrame:
    return pd.read_csv(path, index_col="GalaxyID")


def test_folder_has_the_competition_layout(folder):
    assert sorted(p.name for p in folder.iterdir()) == [
        "all_zeros_benchmark.zip",
        "images_test_rev1.zip",
        "images_training_rev1.zip",
        "sky_test_solutions.csv",
        "training_solutions_rev1.zip",
    ]
    labels, sample = (
        read_csv(folder / "training_solutions_rev1.zip"),
        read_csv(folder / "all_zeros_benchmark.zip"),
    )
    held_back = read_csv(folder / "sky_test_solutions.csv")
    for table, n in ((labels, 40), (sample, 30), (held_back, 30)):
        assert tuple(table.columns) == GZ2.columns
        assert len(table) == n
        assert table.index.is_monotonic_increasing
        assert table.index.is_unique
    assert not set(labels.index) & set(sample.index)
    assert sample.index.equals(held_back.index)
    assert not sample.to_numpy().any()
    assert tree.violations(GZ2, labels.to_numpy()).max() < 1e-12


def test_images_belong_to_the_labelled_galaxies(folder):
    labels = read_csv(folder / "training_solutions_rev1.zip")
    with zipfile.ZipFile(folder / "images_training_rev1.zip") as archive:
        assert archive.namelist() == [f"images_training_rev1/{i}.jpg" for i in labels.index]
        files = [archive.read(name) for name in archive.namelist()]
    images = np.array([cv2.imdecode(np.frombuffer(f, np.uint8), cv2.IMREAD_COLOR) for f in files])
    assert images.shape == (40, 424, 424, 3)
    galaxy, fractions, generator = survey.observe(seed=3, index=17)
    assert camera.to_jpeg(render(galaxy, generator)) == files[17]
    assert labels.iloc[17].to_numpy() == pytest.approx(fractions)


def test_same_seed_same_bytes_with_two_workers(folder, tmp_path):
    survey.draw(tmp_path, n_train=40, n_test=30, seed=3, workers=2, progress=False)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_another_seed_draws_other_galaxies():
    assert survey.observe(3, 0)[0] != survey.observe(4, 0)[0]
    assert not np.array_equal(survey.draw_ids(40, 30, 3)[0], survey.draw_ids(40, 30, 4)[0])


def test_an_interruption_leaves_no_half_written_file(tmp_path, monkeypatch):
    def interrupt(galaxy, generator):
        raise KeyboardInterrupt

    monkeypatch.setattr(survey, "render", interrupt)
    with pytest.raises(KeyboardInterrupt):
        survey.draw(tmp_path, n_train=2, n_test=1, seed=0, workers=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_too_many_galaxies_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Received: n_train=900000, n_test=1"):
        survey.draw(tmp_path, n_train=900_000, n_test=1, seed=0)
