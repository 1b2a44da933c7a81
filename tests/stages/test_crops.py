"""Stage 2: the right pixels at the right place, no row made twice, no damage passed over."""

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.competition import cutout, source_files
from pipeline.competition.source_files import Images
from pipeline.errors import DamagedImage, UserError
from pipeline.plans.crops import IMAGE_SIDE, Crop
from pipeline.stages import crops, inputs
from pipeline.store import artifacts
from pipeline.store.artifacts import Store
from pipeline.store.records import save_json
from tests.builders import competition_files as tiny

GIVEN = os.environ.get("GALAXY_ZOO_INPUT")
ROOT = "output/tiny"
ASIDE = 'corrupt_images = "set-aside"'
WIDE = "[crops.wide]\nregion = 300\nsize = 64\n"


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Six galaxies take three flushes, each of two tasks."""
    monkeypatch.setattr(crops, "ROWS_PER_FLUSH", 2)
    monkeypatch.setattr(crops, "ROWS_PER_TASK", 1)


def checked(folder: Path, **raw) -> Store:
    """Stage 0 done on a competition in miniature; its store."""
    inputs.main([*tiny.plan(folder), "--input", str(tiny.write(folder / "raw", **raw))])
    return Store(folder / ROOT)


def run(folder: Path, *flags: str, **plan: str) -> None:
    crops.main([*tiny.plan(folder, **plan), *flags])


def arrays(store: Store, crop: str = "half") -> list[bytes]:
    """All bytes of one crop's four files."""
    return [path.read_bytes() for split in ("train", "test") for path in store.crops(crop, split).files]


class Counter:
    """Counts the images that are cut, and interrupts at one of them."""

    def __init__(self, monkeypatch, interrupt_at: int | None = None):
        self.count, self.at, self.cut = 0, interrupt_at, cutout.cut
        monkeypatch.setattr(cutout, "cut", self)

    def __call__(self, *args):
        self.count += 1
        if self.count == self.at:
            raise KeyboardInterrupt
        return self.cut(*args)


# ---- one image ----


def cut(data: bytes, crops: list[Crop]) -> list[np.ndarray]:
    made = [np.empty((crop.size, crop.size, 3), np.uint8) for crop in crops]
    cutout.cut(data, crops, made)
    return made


def square(side: int, width: int) -> bytes:
    """A white square of that width in the middle of a black image."""
    image = np.zeros((side, side, 3), np.uint8)
    a = (side - width) // 2
    image[a : a + width, a : a + width] = 255
    return tiny.jpeg(image, quality=100)


@pytest.mark.parametrize(
    ("region", "size", "first", "last"),  # first and last white pixel of a square of 64 pixels
    [
        (256, 128, 48, 79),
        (424, 212, 90, 121),
        (424, 106, 45, 60),
        (424, 424, 180, 243),
        (256, 64, 24, 39),
        (128, 128, 32, 95),
        (128, 256, 64, 191),
        (256, 32, 12, 19),
    ],
)
def test_a_square_lands_on_the_right_pixels(region, size, first, last):
    (made,) = cut(square(424, 64), [Crop(region=region, size=size)])
    assert made.shape == (size, size, 3)
    assert made.dtype == np.uint8
    white = made.min(axis=2) > 127
    for axis in (0, 1):
        assert np.flatnonzero(white.any(axis=axis))[[0, -1]].tolist() == [first, last]
    assert white[first : last + 1, first : last + 1].all()


@pytest.mark.parametrize("crop", [Crop(region=256, size=128), Crop(region=300, size=100)])  # half scale, full
def test_colours_and_orientation(crop):
    image = np.full((424, 424, 3), 20, np.uint8)
    image[150:200, 150:200] = (0, 0, 220)  # BGR: red, above and to the left
    image[150:200, 230:280] = (220, 0, 0)  # blue, above and to the right
    (made,) = cut(tiny.jpeg(image), [crop])
    top, left, right = ((np.array([175, 175, 255]) - 212) * crop.size / crop.region + crop.size / 2).astype(int)
    np.testing.assert_allclose(made[top, left], (220, 0, 0), atol=12)
    np.testing.assert_allclose(made[top, right], (0, 0, 220), atol=12)


@pytest.mark.parametrize(
    ("region", "size", "side", "half"),
    [
        (256, 128, 424, True),
        (424, 212, 424, True),
        (254, 127, 424, False),  # begins at an odd pixel: 2 x 2 blocks would straddle it
        (256, 64, 424, False),
        (256, 128, 848, False),
    ],
)
def test_half_scale_is_used_only_where_its_pixels_are_the_blocks(region, size, side, half):
    assert cutout.at_half_scale(Crop(region=region, size=size), side) == half


def half_scale_errors(jpegs: list[bytes], crop: Crop) -> np.ndarray:
    """Mean absolute difference in grey levels of each image between half scale and full decode + area average."""
    assert cutout.at_half_scale(crop, IMAGE_SIDE)
    half = np.array([cut(data, [crop])[0] for data in jpegs], float)
    whole = (cutout.central_crop(cutout.decode(data, half=False), crop.region) for data in jpegs)
    full = np.array([cutout.resize(image, crop.size) for image in whole], float)
    assert half.std() > 1
    return np.abs(half - full).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("size", [64, 128, 212])
def test_half_scale_is_within_a_grey_level(size):
    jpegs = [tiny.jpeg(tiny.galaxy(seed)) for seed in range(8)]
    assert half_scale_errors(jpegs, Crop(region=2 * size, size=size)).max() < 1


@pytest.mark.parametrize(("half", "flag"), [(True, cv2.IMREAD_REDUCED_COLOR_2), (False, cv2.IMREAD_COLOR)])
@pytest.mark.parametrize("quality", [30, 75, 98])
def test_decoding_agrees_with_opencv(half, flag, quality):
    data = tiny.jpeg(tiny.galaxy(quality), quality)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), flag)[..., ::-1]
    np.testing.assert_allclose(cutout.decode(data, half).astype(int), expected, atol=1)  # two builds of one library


def test_a_threads_space_is_not_mixed_up():
    crops_ = [Crop(region=256, size=128), Crop(region=424, size=424), Crop(region=424, size=212)]
    alone = [[cut(tiny.jpeg(tiny.galaxy(seed)), [crop])[0] for crop in crops_] for seed in (1, 2)]
    together = [cut(tiny.jpeg(tiny.galaxy(seed)), crops_) for seed in (1, 2)]
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("side", [212, 848, 300])
def test_other_sides_show_the_same_part(side):
    crop = Crop(region=256, size=64)
    (made,) = cut(square(side, side // 4), [crop])
    (usual,) = cut(square(424, 106), [crop])
    assert np.abs(made.astype(int) - usual).mean() < 4


def test_grey_becomes_rgb():
    grey = tiny.galaxy(1)[..., 0]
    for crop in (Crop(region=256, size=128), Crop(region=424, size=424)):
        (made,) = cut(tiny.jpeg(grey, quality=100), [crop])
        assert made.shape == (crop.size, crop.size, 3)
        assert (made == made[..., :1]).all()
    np.testing.assert_allclose(made[..., 0], grey, atol=3)


GOOD = tiny.jpeg(tiny.galaxy(3))


def resized(height: int, width: int) -> bytes:
    """The JPEG of a galaxy whose header claims another size."""
    at = next(i for i in range(len(GOOD)) if GOOD[i : i + 2] == b"\xff\xc0")
    return GOOD[: at + 5] + struct.pack(">HH", height, width) + GOOD[at + 9 :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no JPEG"),
        (b"GIF89a" + GOOD, "no JPEG"),
        (GOOD[:400], "frame header|cut short|cannot be decoded"),
        (GOOD[: len(GOOD) // 2], "cut short"),
        (GOOD[:-2], "cut short"),
        (b"\xff\xd8\xff\xd9", "frame header"),
        (b"\xff\xd8" + b"\0" * 50 + b"\xff\xd9", "frame header"),
        (tiny.jpeg(tiny.galaxy(1)[:400]), "424 x 400 pixels"),
        (tiny.jpeg(tiny.galaxy(1, side=24)), "24 x 24 pixels"),
        (resized(60000, 60000), "60000 x 60000 pixels"),  # and no memory is asked for
        (GOOD[: GOOD.index(b"\xff\xc4")] + b"\xff\xd9", "cannot be decoded"),
    ],
)
def test_unusable_images_are_told(data, message):
    with pytest.raises(DamagedImage, match=message):
        cut(data, [Crop(region=256, size=128)])


@pytest.mark.parametrize("data", [GOOD, tiny.jpeg(tiny.galaxy(4, side=212))])
@pytest.mark.parametrize("tail", [b"\0" * 20, b"\0" * 100_000, GOOD, b"\xff\xd9" * 9, b"c2pa" * 500])
def test_what_follows_the_end_is_not_looked_at(data, tail):
    crop = Crop(region=256, size=64)
    np.testing.assert_array_equal(cut(data + tail, [crop])[0], cut(data, [crop])[0])


# ---- the stage ----


def test_rows_are_the_images_in_ascending_order(tmp_path):
    store = checked(tmp_path)
    run(tmp_path, crops=WIDE)
    for split, ids in (("train", tiny.TRAIN), ("test", tiny.TEST)):
        for name, crop in (("half", Crop(region=256, size=128)), ("wide", Crop(region=300, size=64))):
            images, rows = store.load_crops(name, split)
            assert rows.tolist() == sorted(ids)
            assert rows.dtype == np.int64
            expected = [cut(tiny.images((i,))[f"{i}.jpg"], [crop])[0] for i in sorted(ids)]
            np.testing.assert_array_equal(images, expected)
            record = store.crops(name, split).record()
            assert (record["n"], record["set_aside"]) == (len(ids), [])
            assert record["images_per_second"] > 0
    assert {p.name for p in (store.root / "crops" / "half").iterdir()} == {
        f"{split}{suffix}" for split in ("train", "test") for suffix in (".npy", ".ids.npy", ".json")
    }


def test_zip_and_folder_give_the_same_bytes(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "f").mkdir()
    stores = [checked(tmp_path / "z"), checked(tmp_path / "f", zipped=False)]
    run(tmp_path / "z")
    run(tmp_path / "f")
    assert arrays(stores[0]) == arrays(stores[1])


def test_all_crops_come_from_one_decode_and_equal_those_made_alone(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    together, apart = checked(tmp_path / "a"), checked(tmp_path / "b")
    counter = Counter(monkeypatch)
    run(tmp_path / "a", crops=WIDE)
    assert counter.count == 9
    for split in ("train", "test"):
        parts = [together.crops(crop, split).facts() for crop in ("half", "wide")]  # made in one pass, counted once
        assert sum(part["seconds"] for part in parts) * parts[0]["images_per_second"] < 9 + 1
    run(tmp_path / "b")
    run(tmp_path / "b", crops=WIDE)
    assert counter.count == 9 + 18
    for crop in ("half", "wide"):
        assert arrays(together, crop) == arrays(apart, crop)
    run(tmp_path / "b", crops=WIDE)
    assert counter.count == 9 + 18  # nothing to do


@pytest.mark.parametrize("at", [1, 3, 6, 8])
def test_an_interrupted_run_goes_on(tmp_path, monkeypatch, at):
    monkeypatch.setattr(crops, "ThreadPoolExecutor", lambda _: crops_pool(1))  # so that the rows have an order
    (tmp_path / "whole").mkdir()
    whole, store = checked(tmp_path / "whole"), checked(tmp_path)
    run(tmp_path / "whole", crops=WIDE)
    with monkeypatch.context() as patch:
        Counter(patch, interrupt_at=at)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, crops=WIDE)
    assert store.crops("half", "test").record() is None
    counter = Counter(monkeypatch)
    run(tmp_path, crops=WIDE)
    finished = (at - 1) // 2 * 2  # whole flushes of two; six of train, then three of test
    assert counter.count == 9 - finished
    for crop in ("half", "wide"):
        assert arrays(store, crop) == arrays(whole, crop)


def crops_pool(workers: int):
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers)


def test_crops_that_are_differently_far_go_on_together(tmp_path, monkeypatch):
    monkeypatch.setattr(crops, "ThreadPoolExecutor", lambda _: crops_pool(1))
    (tmp_path / "whole").mkdir()
    whole, store = checked(tmp_path / "whole"), checked(tmp_path)
    run(tmp_path / "whole", crops=WIDE)
    with monkeypatch.context() as patch:
        Counter(patch, interrupt_at=5)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    counter = Counter(monkeypatch)
    run(tmp_path, crops=WIDE)
    assert counter.count == 9
    for crop in ("half", "wide"):
        assert arrays(store, crop) == arrays(whole, crop)


def test_killed_before_the_record_nothing_is_decoded_again(tmp_path, monkeypatch):
    store = checked(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(crops.Unit, "finish", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert store.crops("half", "train").files[0].exists()
    assert store.crops("half", "train").record() is None
    counter = Counter(monkeypatch)
    run(tmp_path)
    assert counter.count == 3  # the test images alone
    assert store.load_crops("half", "train")[0].any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("what", ["spec", "damage", "garbage"])
def test_a_partial_that_does_not_fit_is_thrown_away(tmp_path, monkeypatch, what):
    monkeypatch.setattr(crops, "ThreadPoolExecutor", lambda _: crops_pool(1))
    store = checked(tmp_path)
    with monkeypatch.context() as patch:
        Counter(patch, interrupt_at=5)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    folder = store.root / "crops" / "half"
    if what == "damage":
        (folder / ".train.npy.partial").write_bytes(b"not an array")
    if what == "garbage":
        (folder / ".train.progress.json").write_text("{")
    counter = Counter(monkeypatch)
    if what == "spec":
        text = (tmp_path / "tiny.toml").read_text().replace("region = 256", "region = 424")
        (tmp_path / "tiny.toml").write_text(text)
        crops.main(["--plan", str(tmp_path / "tiny.toml"), "--output", str(tmp_path / "output")])
    else:
        run(tmp_path)
    assert counter.count == 9
    assert store.load_crops("half", "train")[0].any(axis=(1, 2, 3)).all()


def test_force_makes_every_row_anew(tmp_path, monkeypatch):
    store = checked(tmp_path)
    run(tmp_path)
    units = crops.dependencies.crops(crops.cli.load_plan(str(tmp_path / "tiny.toml")), store)
    train = crops.PartialCrop(next(units), np.sort(tiny.TRAIN))  # its progress, as if killed right after the record
    save_json(train.file.progress_path, {"key": train.file.key, "done": 6, "notes": {}})
    counter = Counter(monkeypatch)
    run(tmp_path, "--force")
    assert counter.count == 9


def broken(tmp_path: Path, **raw) -> Store:
    train = tiny.images(tiny.TRAIN)
    train["100053.jpg"] = train["100053.jpg"][:3000]
    train["987654.jpg"] = b"no image"
    return checked(tmp_path, train=train, **raw)


def test_damaged_images_stop_the_stage_and_nothing_is_lost(tmp_path, monkeypatch):
    store = broken(tmp_path)
    with pytest.raises(UserError) as error:
        run(tmp_path)
    text = str(error.value)
    for expected in ("2 images cannot", "100053 is cut short", "987654 is no JPEG", 'corrupt_images = "set-aside"'):
        assert expected in text
    assert store.crops("half", "train").record() is None
    assert store.crops("half", "test").record()["n"] == 3
    counter = Counter(monkeypatch)
    run(tmp_path, more=ASIDE)
    assert counter.count == 2  # the damaged two are looked at again, the rest is there


def test_damaged_images_set_aside_leave_their_row_empty(tmp_path, caplog):
    store = broken(tmp_path)
    run(tmp_path, more=ASIDE)
    images, ids = store.load_crops("half", "train")
    assert ids.tolist() == sorted(tiny.TRAIN)
    assert ids[~images.any(axis=(1, 2, 3))].tolist() == [100053, 987654]
    assert store.crops("half", "train").record()["set_aside"] == [100053, 987654]
    assert "2 images cannot be used (100053 is cut short" in caplog.text
    run(tmp_path, more=ASIDE)
    with pytest.raises(UserError, match=r"half/train was built without 2 images .*100053"):
        run(tmp_path)


def test_an_image_mended_in_place_is_taken(tmp_path):
    whole = tiny.images((100053,))["100053.jpg"]
    train = tiny.images(tiny.TRAIN) | {"100053.jpg": bytes(len(whole))}
    store = checked(tmp_path, train=train, zipped=False)
    with pytest.raises(UserError, match="1 image cannot"):
        run(tmp_path)
    (tmp_path / "raw" / "images_training_rev1" / "100053.jpg").write_bytes(whole)
    run(tmp_path)
    assert store.crops("half", "train").record()["set_aside"] == []
    assert store.load_crops("half", "train")[0].any(axis=(1, 2, 3)).all()


def test_other_images_make_the_crops_anew(tmp_path, monkeypatch):
    store = checked(tmp_path)
    run(tmp_path)
    before = arrays(store)
    train = tiny.images(tiny.TRAIN)
    train["100008.jpg"] = train["100023.jpg"]
    tiny.write(tmp_path / "raw", train=train)
    monkeypatch.setattr("pipeline.cli.to_do", lambda made, *_, **__: list(made))
    with pytest.raises(UserError, match="has changed since it was checked"):
        run(tmp_path)
    monkeypatch.undo()
    inputs.main([*tiny.plan(tmp_path), "--force"])
    run(tmp_path)
    images, ids = store.load_crops("half", "train")
    np.testing.assert_array_equal(images[ids == 100008], images[ids == 100023])
    assert arrays(store) != before


def test_a_moved_folder_is_asked_for(tmp_path):
    checked(tmp_path)
    (tmp_path / "raw").rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"no longer in .*--input DIR"):
        run(tmp_path)


def test_too_small_a_disk_is_told_before_any_work(tmp_path, monkeypatch):
    store = checked(tmp_path)
    usage = artifacts.shutil.disk_usage(tmp_path)._replace(free=artifacts.MIN_FREE_BYTES + 9 * 128 * 128 * 3 - 1)
    monkeypatch.setattr(artifacts.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"the crops take 0 MB, 67 MB are kept free, and .* has 68 MB free"):
        run(tmp_path)
    monkeypatch.setattr(artifacts.shutil, "disk_usage", lambda _: usage._replace(total=0, free=0))  # such as /proc
    with pytest.raises(UserError, match="is no place for files: choose another --output"):
        run(tmp_path)
    assert not (store.root / "crops").exists()
    monkeypatch.setattr(artifacts.shutil, "disk_usage", lambda _: usage._replace(free=usage.free + 1))
    run(tmp_path)


def test_without_stage_0_it_says_so(tmp_path):
    with pytest.raises(UserError, match="inputs"):
        run(tmp_path)


@pytest.mark.skipif(not GIVEN, reason="GALAXY_ZOO_INPUT names no folder with the competition's real files")
def test_half_scale_on_real_images():
    files = source_files.find(Path(GIVEN))
    for path in (files.train, files.test):
        with Images(path) as images:
            errors = half_scale_errors([images.read(i) for i in images.ids[::40]], Crop(region=256, size=128))
        print(f"{path.name}: {errors.mean():.2f} grey levels on average, {errors.max():.2f} at most")
        assert errors.mean() < 0.3
        assert errors.max() < 1
