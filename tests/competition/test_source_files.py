"""The competition's files: found under any of their names, read in place, damage noticed."""

import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.competition import source_files, tables
from pipeline.competition.source_files import Images
from pipeline.errors import DamagedImage, UserError
from tests.builders import competition_files as tiny

BLOBS = {"20.jpg": b"twenty" * 50, "3.jpg": b"three", "100.JPG": b"\0" * 4000}
GIVEN = os.environ.get("GALAXY_ZOO_INPUT")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.mkdir(parents=True) if "." not in name else path.write_bytes(b"")


@pytest.mark.parametrize(
    "names",
    [
        ("training_solutions_rev1.zip", "images_training_rev1.zip", "images_test_rev1.zip", "all_zeros_benchmark.zip"),
        ("Training_Solutions_REV1.csv", "Images_Training_rev1", "IMAGES_TEST_REV1.ZIP", "central_pixel_benchmark.csv"),
        ("training_solutions.zip", "images_train", "images_test", "sample_submission.csv"),
        ("training_solutions_rev1", "images_train_rev1.zip", "images_test.zip", "all_ones_benchmark.zip"),
    ],
)
def test_finds_every_spelling(tmp_path, names):
    touch(tmp_path, *names)
    found = source_files.find(tmp_path)
    assert [path.name for path in (found.labels, found.train, found.test, found.sample)] == list(names)


def test_finds_the_corrected_release_first_and_looks_into_the_competitions_folder(tmp_path):
    (tmp_path / source_files.SLUG).mkdir()
    touch(tmp_path / source_files.SLUG, "images_test.zip", "images_test_rev1.zip", "all_zeros_benchmark.csv")
    touch(tmp_path, "training_solutions_rev1.csv", "images_training", "images_training_rev1")
    found = source_files.find(tmp_path)
    assert found.test.name == "images_test_rev1.zip"
    assert found.train.name == "images_training_rev1"


def test_says_all_that_is_missing_where_and_what_mends_it(tmp_path):
    touch(tmp_path, "images_test_rev1.zip", f"{source_files.SLUG}.zip")
    with pytest.raises(UserError) as error:
        source_files.find(tmp_path)
    text = str(error.value)
    for expected in ("lacks 3", "training_solutions_rev1", "images_training_rev1", "all_zeros_benchmark"):
        assert expected in text
    for expected in (str(tmp_path), source_files.DATA_PAGE, "--input DIR", "unzip"):
        assert expected in text
    assert "images_test_rev1" not in text
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        source_files.find(tmp_path / "nowhere")


@pytest.mark.parametrize("inner", ["", "images_training_rev1/", "a/images/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_gives_ids_and_bytes(tmp_path, inner, method):
    litter = {"__MACOSX/._3.jpg": b"x", f"{inner}.3.jpg": b"x", f"{inner}Thumbs.db": b"x", ".DS_Store": b"x"}
    path = tiny.zip_of(tmp_path / "i.zip", {f"{inner}{n}": d for n, d in BLOBS.items()} | litter, method)
    with Images(path) as images:
        assert images.ids.tolist() == [3, 20, 100]
        assert images.ids.dtype == np.int64
        assert images.problems == []
        assert [images.read(i) for i in images.ids] == [BLOBS["3.jpg"], BLOBS["20.jpg"], BLOBS["100.JPG"]]


@pytest.mark.parametrize("inner", ["", "images_training_rev1/"])
def test_folder_gives_the_same_as_the_zip(tmp_path, inner):
    litter = {"__MACOSX/3.jpg": b"x", f"{inner}._3.jpg": b"x"}
    folder = tiny.folder_of(tmp_path / "i", {f"{inner}{n}": d for n, d in BLOBS.items()} | litter)
    zipped = Images(tiny.zip_of(tmp_path / "i.zip", BLOBS))
    images = Images(folder)
    np.testing.assert_array_equal(images.ids, zipped.ids)
    assert [images.read(i) for i in images.ids] == [zipped.read(i) for i in zipped.ids]


@settings(max_examples=25, deadline=None)
@given(
    blobs=st.dictionaries(st.integers(0, 10**18 - 1), st.binary(max_size=300), max_size=8),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_any_zip_reads_back(tmp_path_factory, blobs, method):
    path = tmp_path_factory.mktemp("any") / "i.zip"
    with Images(tiny.zip_of(path, {f"{i}.jpg": data for i, data in blobs.items()}, method)) as images:
        assert images.ids.tolist() == sorted(blobs)
        assert {i: images.read(i) for i in blobs} == blobs


def test_threads_read_at_once(tmp_path):
    rng = np.random.default_rng(0)
    blobs = {i: rng.bytes(rng.integers(1, 5000)) for i in range(300)}
    with Images(tiny.zip_of(tmp_path / "i.zip", {f"{i}.jpg": data for i, data in blobs.items()})) as images:
        wanted = rng.integers(0, 300, 5000)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(images.read, wanted)) == [blobs[i] for i in wanted]


def test_fingerprint_follows_the_content_not_the_place(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    first = Images(tiny.zip_of(tmp_path / "i.zip", BLOBS)).fingerprint()
    turned = {f"deeper/{name}": BLOBS[name] for name in reversed(BLOBS)}
    moved = Images(tiny.zip_of(tmp_path / "elsewhere" / "j.zip", turned, zipfile.ZIP_DEFLATED)).fingerprint()
    other = Images(tiny.zip_of(tmp_path / "k.zip", BLOBS | {"3.jpg": b"threE"})).fingerprint()
    assert first["count"] == 3
    assert first == moved
    assert first != other
    folder = tiny.folder_of(tmp_path / "f", BLOBS)
    before = Images(folder).fingerprint()
    assert before == Images(tiny.folder_of(tmp_path / "g" / "h", BLOBS)).fingerprint()
    (folder / "3.jpg").write_bytes(b"three!")
    assert before != Images(folder).fingerprint()


@pytest.mark.parametrize("name", ["../7.jpg", "/tmp/7.jpg", "a/../../7.jpg", "C:/7.jpg"])
def test_names_that_leave_the_archive_are_refused(tmp_path, name):
    path = tiny.zip_of(tmp_path / "i.zip", BLOBS | {name: b"x"})
    with pytest.raises(UserError, match="outside the archive"):
        Images(path)


def test_strange_and_double_names_are_told(tmp_path):
    path = tiny.zip_of(tmp_path / "i.zip", {"5.jpg": b"a", "x/5.jpg": b"b", "x/05.jpg": b"c", "galaxy.jpg": b"d"})
    images = Images(path)
    assert images.ids.tolist() == [5]
    assert images.read(5) == b"a"
    strange, twice = images.problems
    assert "2 images whose name is no GalaxyID (such as x/05.jpg, galaxy.jpg)" in strange
    assert "1 images of a GalaxyID that is there already (such as x/5.jpg)" in twice


@pytest.mark.parametrize("packed", ["./in/{}", "in\\{}", "./{}"])
def test_names_are_the_same_whoever_packed_them(tmp_path, packed):
    with Images(tiny.zip_of(tmp_path / "i.zip", {packed.format(n): d for n, d in BLOBS.items()})) as images:
        assert images.problems == []
        assert images.ids.tolist() == [3, 20, 100]
        assert images.read(3) == BLOBS["3.jpg"]
        assert images.fingerprint() == Images(tiny.zip_of(tmp_path / "j.zip", BLOBS)).fingerprint()


def test_damage_is_noticed(tmp_path):
    path = tiny.zip_of(tmp_path / "i.zip", BLOBS)
    data = bytearray(path.read_bytes())
    data[data.index(b"three")] ^= 1
    path.write_bytes(data)
    images = Images(path)
    assert images.read(20) == BLOBS["20.jpg"]
    with pytest.raises(DamagedImage, match="checksum"):
        images.read(3)
    with pytest.raises(DamagedImage, match="method 12"):
        Images(tiny.zip_of(tmp_path / "b.zip", BLOBS, zipfile.ZIP_BZIP2)).read(3)
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="not a whole zip"):
        Images(tmp_path / "cut.zip")


@pytest.mark.skipif(not GIVEN, reason="GALAXY_ZOO_INPUT names no folder with the competition's real files")
def test_real_files():
    files = source_files.find(Path(GIVEN))
    with Images(files.train) as train, Images(files.test) as test:
        assert len(np.intersect1d(train.ids, test.ids)) == 0
        assert all(train.read(i)[:2] == b"\xff\xd8" for i in train.ids[:50])
        np.testing.assert_array_equal(np.sort(tables.read_sample(files.sample)[1]), test.ids)
    assert files.signature() is None or set(files.signature()) == {"labels", "train", "test", "sample"}
