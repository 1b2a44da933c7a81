"""Readers of what others wrote, fed with damaged and random bytes: an answer or one sentence, never anything else.

FUZZ=20000 tries so many of each kind instead of 150.
"""

import gzip
import io
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalogue import pixels
from pipeline.catalogue.galaxies import Galaxies
from pipeline.competition import tables
from pipeline.competition.cutout import cut
from pipeline.competition.source_files import Images
from pipeline.errors import DamagedImage, UserError
from pipeline.plans.config import load_plan
from pipeline.plans.crops import Crop
from pipeline.store.records import Artifact
from tests.builders import competition_files as tiny
from tests.builders import fabricated
from tests.builders.galaxy_zoo_2 import GZ2

TRIES = settings(max_examples=int(os.environ.get("FUZZ", "150")), deadline=None)
JPEG = tiny.jpeg(tiny.galaxy(3, side=96))
CSV = tiny.labels().to_csv().encode()
CROPS = [Crop(region=256, size=32), Crop(region=424, size=64)]


GALAXY = tiny.galaxy(3, side=80)


def fits_of(*hdus: fits.ImageHDU | fits.CompImageHDU) -> bytes:
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(file)
    return file.getvalue()


FORMATS = {
    "jpeg": tiny.jpeg(GALAXY[:70]),
    "progressive": cv2.imencode(".jpg", GALAXY, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes(),
    "png": cv2.imencode(".png", GALAXY)[1].tobytes(),
    "png16": cv2.imencode(".png", np.dstack([GALAXY, GALAXY[..., 0]]).astype(np.uint16) * 16)[1].tobytes(),
    "cube": fits_of(fits.ImageHDU(np.moveaxis(GALAXY, -1, 0) * np.float32(1.5), fits.Header({"BANDS": "grz"}))),
    "integers": fits_of(fits.ImageHDU(GALAXY[..., 0].astype(np.int16) * 3, fits.Header({"BLANK": 6}))),
    "bands": fits_of(*(fits.ImageHDU(GALAXY[..., i] * 1.5, name=name) for i, name in enumerate("grz"))),
    "compressed": fits_of(fits.CompImageHDU(GALAXY[..., 0].astype(np.float32) * 3)),
    "gzip": gzip.compress(fits_of(fits.ImageHDU(GALAXY[..., 0].astype(np.int16)))),
}


def zipped(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("images/3.jpg", JPEG)
        archive.writestr("images/20.jpg", b"twenty" * 40)
    return file.getvalue()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with up to six places overwritten, cut out or filled in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        other = draw(st.binary(max_size=8))
        kind = draw(st.sampled_from(("over", "out", "in")))
        if kind == "over":
            data[at : at + len(other)] = other
        elif kind == "out":
            del data[at : at + draw(st.integers(1, 200))]
        else:
            data[at:at] = other
    return bytes(data)


@pytest.fixture(scope="module")
def path():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "it"


def told(by: type[Exception], read: Callable, *arguments: object) -> str:
    """The sentence of a refusal; "" where it was read."""
    try:
        read(*arguments)
    except by as error:
        assert str(error)  # noqa: PT017 (others are let through)
        return str(error)
    return ""


@TRIES
@given(data=damaged(CSV) | st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_tables(path, data):
    table = path.with_suffix(".csv")
    table.write_bytes(data)
    for read in (lambda path: tables.read_labels(path, GZ2), tables.read_sample):
        said = told(UserError, read, table)
        assert not said or said.startswith(str(table))


@TRIES
@given(data=damaged(zipped(zipfile.ZIP_STORED)) | damaged(zipped(zipfile.ZIP_DEFLATED)) | st.binary(max_size=400))
def test_archives(path, data):
    archive = path.with_suffix(".zip")
    archive.write_bytes(data)
    if not told(UserError, lambda: Images(archive).close()):
        with Images(archive) as images:
            for galaxy_id in images.ids:
                told(DamagedImage, images.read, galaxy_id)


def catalogues() -> dict[str, bytes]:
    """One of every format, small."""
    frame = pd.DataFrame({"objid": ["a1", "b2", "c3"], "ra": [1.0, 2.0, 3.0], "image": ["a", "b", "c"]})
    made = {"csv": frame.to_csv(index=False).encode(), "parquet": frame.to_parquet()}
    for kind in ("fits", "votable"):
        file = io.BytesIO()
        Table.from_pandas(frame.astype({"objid": object, "image": object})).write(file, format=kind)
        made[kind] = file.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name in ("in/a.jpg", "b.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(JPEG)
            archive.addfile(info, io.BytesIO(JPEG))
    return made | {"tar": file.getvalue(), "zip": zipped(zipfile.ZIP_DEFLATED)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("whole", catalogues().values(), ids=catalogues())
@TRIES
@given(draw=st.data())
def test_catalogues(path, whole, draw):
    path.write_bytes(draw.draw(damaged(whole)))
    said = told(UserError, lambda: Galaxies(path, None, {}).survey(GZ2))
    assert not said or str(path) in said


@TRIES
@given(data=damaged(JPEG) | st.binary(max_size=400).map(lambda tail: b"\xff\xd8" + tail + b"\xff\xd9"))
def test_images(data):
    targets = [np.empty((crop.size, crop.size, 3), np.uint8) for crop in CROPS]
    told(DamagedImage, cut, data, CROPS, targets)


@pytest.mark.filterwarnings("ignore")  # of astropy, on what it reads nevertheless
@pytest.mark.parametrize("kind", FORMATS)
def test_images_of_any_format(kind):
    @settings(TRIES, max_examples=max(1, TRIES.max_examples // 3))
    @given(data=damaged(FORMATS[kind]))
    def read(data):
        image = None
        try:
            image, caveat = pixels.decode(data)
        except DamagedImage as error:
            assert str(error)  # noqa: PT017 (others are let through)
        if image is not None:
            assert image.dtype == np.uint8
            assert image.shape[2:] == (3,)
            assert isinstance(caveat, str)
            told(DamagedImage, pixels.cut, data, CROPS, [np.empty((c.size, c.size, 3), np.uint8) for c in CROPS])

    read()


@TRIES
@given(data=damaged(fabricated.PLAN.encode()) | st.binary(max_size=200))
def test_plans(path, data):
    plan = path.with_suffix(".toml")
    plan.write_bytes(data)
    assert "\n" not in told(UserError, load_plan, str(plan))


@TRIES
@given(data=damaged(b'{"spec": {}, "made_from": {}, "digest": "ab", "files": {}}') | st.binary(max_size=100))
def test_records(path, data):
    record = path.with_suffix(".json")
    record.write_bytes(data)
    said = told(UserError, Artifact(record, ()).record)
    assert not said or said.endswith("delete it and run again")
