"""Bad input, case by case: refused in one sentence with nothing lost, set aside with the reason, or mended."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.stages import crops, folds, inputs
from pipeline.store.artifacts import Store
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2

GOOD = tiny.jpeg(tiny.galaxy(3))
VICTIM = "100008.jpg"
TRAIN, LABELS, SAMPLE = "images_training_rev1.zip", "training_solutions_rev1", "all_zeros_benchmark"


class Case(NamedTuple):
    """How a flawless folder is spoilt, what becomes of it, and what is said (or why, for an image set aside)."""

    spoil: Callable[[Path], object]
    verdict: str  # refused, set aside, mended
    said: str = ""


def image(data: bytes) -> Callable[[Path], object]:
    """One training image has other bytes."""
    return lambda raw: members(raw, tiny.images(tiny.TRAIN) | {VICTIM: data})


def members(raw: Path, content: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """The zip of training images has these members."""
    return tiny.zip_of(raw / TRAIN, content, method)


def pillow(mode: str, kind: str = "JPEG", **options: object) -> bytes:
    """A galaxy written by Pillow."""
    file, drawn = io.BytesIO(), Image.fromarray(tiny.galaxy(3))
    drawn.convert(mode).save(file, kind, **options)
    return file.getvalue()


def sideways() -> bytes:
    """A JPEG whose EXIF tag asks for a quarter turn."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return pillow("RGB", exif=exif)


def resized(height: int, width: int) -> bytes:
    """A JPEG whose header claims another size."""
    at = next(i for i in range(len(GOOD)) if GOOD[i : i + 2] == b"\xff\xc0")
    return GOOD[: at + 5] + struct.pack(">HH", height, width) + GOOD[at + 9 :]


def deep() -> bytes:
    """A PNG of 16 bits."""
    file = io.BytesIO()
    Image.fromarray(tiny.galaxy(3)[..., 0].astype(np.uint16) << 8).save(file, "PNG")
    return file.getvalue()


def locked(raw: Path) -> None:
    """Every member of the zip says that it is encrypted."""
    data = bytearray((raw / TRAIN).read_bytes())
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        data[at + 8] |= 1
        at = data.find(b"PK\x01\x02", at + 4)
    (raw / TRAIN).write_bytes(data)


def link(raw: Path) -> None:
    """One image is a symbolic link to a file outside."""
    content = tiny.images(tiny.TRAIN)
    del content[VICTIM]
    members(raw, content)
    info = zipfile.ZipInfo(VICTIM)
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(raw / TRAIN, "a") as archive:
        archive.writestr(info, "/etc/passwd")


def cut_short(raw: Path) -> None:
    (raw / TRAIN).write_bytes((raw / TRAIN).read_bytes()[:-1000])


def flipped(raw: Path) -> None:
    """A bit of an image's data in the zip."""
    data = (raw / TRAIN).read_bytes()
    at = data.index(tiny.images(tiny.TRAIN)[VICTIM]) + 3000
    (raw / TRAIN).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def text(change: Callable[[str], str | bytes], name: str = LABELS) -> Callable[[Path], object]:
    """The text of a table is changed; it lies there as csv."""

    def spoil(raw: Path) -> None:
        frame = tiny.labels() if name == LABELS else tiny.labels(tiny.TEST) * 0
        made = change(frame.to_csv(lineterminator="\n"))
        (raw / f"{name}.zip").unlink()
        (raw / f"{name}.csv").write_bytes(made if isinstance(made, bytes) else made.encode())

    return spoil


def frame(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], object]:
    """The labels as a table are changed."""
    return text(lambda _: change(tiny.labels()).to_csv())


def put(value: float, column: str = "Class7.1") -> Callable[[Path], object]:
    def change(labels: pd.DataFrame) -> pd.DataFrame:
        labels.loc[100008, column] = value
        return labels

    return frame(change)


def large_table(raw: Path) -> None:
    (raw / f"{LABELS}.zip").unlink()
    tiny.zip_of(raw / f"{LABELS}.zip", {f"{LABELS}.csv": bytes((1 << 28) + 1)}, zipfile.ZIP_DEFLATED)


EVERY = tiny.images(tiny.TRAIN)
FIRST = "GalaxyID,Class1.1"
CASES = {
    # one image
    "truncated image": Case(image(GOOD[: len(GOOD) // 2]), "set aside", "is cut short"),
    "zero-byte image": Case(image(b""), "set aside", "is no JPEG"),
    "image that is a text": Case(image(b"<html>not found</html>" * 9), "set aside", "is no JPEG"),
    "jpg that is a PNG": Case(image(pillow("RGB", "PNG")), "set aside", "is no JPEG"),
    "PNG with alpha": Case(image(pillow("RGBA", "PNG")), "set aside", "is no JPEG"),
    "PNG of 16 bits": Case(image(deep()), "set aside", "is no JPEG"),
    "image of another shape": Case(image(tiny.jpeg(tiny.galaxy(1)[:400])), "set aside", "has 424 x 400 pixels"),
    "image too small": Case(image(tiny.jpeg(tiny.galaxy(1, side=24))), "set aside", "has 24 x 24 pixels"),
    "decompression bomb": Case(image(resized(60000, 60000)), "set aside", "has 60000 x 60000 pixels"),
    "image of 70 MB of zeros": Case(
        lambda raw: members(raw, EVERY | {VICTIM: bytes(70 << 20)}, zipfile.ZIP_DEFLATED),
        "set aside",
        "far more than an image",
    ),
    "CMYK image": Case(image(pillow("CMYK")), "set aside", "is a CMYK JPEG"),
    "image with a flipped bit": Case(flipped, "set aside", "does not agree with the checksum"),
    "link in a zip": Case(link, "set aside", "is no JPEG"),
    "greyscale image": Case(image(pillow("L")), "mended"),
    "progressive image": Case(image(pillow("RGB", progressive=True)), "mended"),
    "EXIF-rotated image": Case(image(sideways()), "mended"),
    "image of another side": Case(image(tiny.jpeg(tiny.galaxy(3, side=300))), "mended"),
    "bytes after an image": Case(image(GOOD + b"\0" * 30), "mended"),
    # archives
    "truncated zip": Case(cut_short, "refused", "is not a whole zip file"),
    "empty zip file": Case(lambda raw: (raw / TRAIN).write_bytes(b""), "refused", "is not a whole zip file"),
    "zip with a password": Case(locked, "refused", "6 members are encrypted"),
    "names that climb out": Case(lambda raw: members(raw, EVERY | {"../7.jpg": GOOD}), "refused", "point outside"),
    "absolute names": Case(lambda raw: members(raw, EVERY | {"/tmp/7.jpg": GOOD}), "refused", "point outside"),
    "names with a drive": Case(lambda raw: members(raw, EVERY | {"C:/7.jpg": GOOD}), "refused", "point outside"),
    "images deep in folders": Case(lambda raw: members(raw, {f"a/b/c/{k}": v for k, v in EVERY.items()}), "mended"),
    "litter of file managers": Case(lambda raw: members(raw, EVERY | {"__MACOSX/._1.jpg": b"x"}), "mended"),
    "image named twice": Case(lambda raw: members(raw, EVERY | {f"b/{VICTIM}": GOOD}), "refused", "a GalaxyID that"),
    "image with a strange name": Case(lambda raw: members(raw, EVERY | {"copy.jpg": GOOD}), "refused", "no GalaxyID"),
    "image without votes": Case(lambda raw: members(raw, EVERY | {"7.jpg": GOOD}), "refused", "not in the labels: 1"),
    "votes without image": Case(
        lambda raw: members(raw, {k: v for k, v in EVERY.items() if k != VICTIM}), "refused", "without one of the train"
    ),
    # tables
    "byte-order mark": Case(text(lambda t: b"\xef\xbb\xbf" + t.encode()), "mended"),
    "CRLF": Case(text(lambda t: t.replace("\n", "\r\n")), "mended"),
    "columns in another order": Case(frame(lambda f: f[list(GZ2.columns[::-1])]), "mended"),
    "another spelling of GalaxyID": Case(text(lambda t: t.replace("GalaxyID", "galaxyid")), "mended"),
    "spaces around names": Case(text(lambda t: t.replace("GalaxyID,Class1.1,", " GalaxyID , Class1.1 ,")), "mended"),
    "id twice": Case(frame(lambda f: pd.concat([f, f.iloc[:1]])), "refused", "more than once: 1 (such as 100023)"),
    "float ids": Case(text(lambda t: t.replace("\n100008,", "\n100008.0,")), "refused", "not integers: 1"),
    "missing row": Case(frame(lambda f: f.drop(100008)), "refused", "not in the labels: 1 (such as 100008)"),
    "NaN": Case(put(np.nan), "refused", "not finite: 1 (such as 100008)"),
    "infinite": Case(put(np.inf), "refused", "not finite: 1 (such as 100008)"),
    "negative": Case(put(-0.01), "refused", "outside [0, 1]: 1 (such as 100008)"),
    "above 1": Case(put(1.01), "refused", "outside [0, 1]: 1 (such as 100008)"),
    "sums that break the tree": Case(frame(lambda f: f * 0.5), "refused", "do not sum to their parent"),
    "extra column": Case(frame(lambda f: f.assign(extra=1.0)), "refused", "unknown 1 (such as extra)"),
    "missing column": Case(frame(lambda f: f.drop(columns="Class7.1")), "refused", "missing 1 (such as Class7.1)"),
    "another separator": Case(text(lambda t: t.replace(",", ";")), "mended"),
    "a row too long": Case(text(lambda t: t.replace("\n100008,", "\n100008,0.1,0.2,")), "refused", "comma-separated"),
    "empty table": Case(text(lambda _: ""), "refused", "not a table of comma-separated values"),
    "header alone": Case(text(lambda t: t.split("\n")[0] + "\n"), "refused", "no galaxies in it"),
    "binary table": Case(text(lambda _: bytes(range(256)) * 40), "refused", "not a table of comma-separated values"),
    "table of 256 MB of zeros": Case(large_table, "refused", "far more than the competition's"),
    "sample of other columns": Case(text(lambda t: t.replace("Class1.1", "Class1.9"), SAMPLE), "refused", "sample: "),
    "sample of other galaxies": Case(text(lambda t: t.replace("300001", "7"), SAMPLE), "refused", "of the sample"),
    "sample with an id twice": Case(text(lambda t: t.replace("300001", "300002"), SAMPLE), "refused", "more than once"),
}


def run(folder: Path, *, more: str = "", force: bool = False) -> Store:
    """Stages 0 to 2 on the folder's raw files."""
    flags = tiny.plan(folder, more=more)
    anew = ["--force"] if force else []
    inputs.main([*flags, "--input", str(folder / "raw"), *anew])
    folds.main(flags)
    crops.main([*flags, *anew])
    return Store(folder / "output" / "tiny")


def content(store: Store) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(store.root.rglob("*")) if path.is_file()}


def test_there_are_enough_of_them():
    assert len(CASES) >= 50


@pytest.mark.parametrize("name", CASES)
def test_bad_input(tmp_path, name):
    case = CASES[name]
    tiny.write(tmp_path / "raw")
    store = run(tmp_path)
    before = content(store)
    case.spoil(tmp_path / "raw")
    if case.verdict == "refused":
        with pytest.raises(UserError) as caught:
            run(tmp_path, force=True)
        assert case.said in str(caught.value)
        assert content(store) == before
        return
    if case.verdict == "set aside":
        with pytest.raises(UserError, match=r"1 image cannot be used \(100008 ") as caught:
            run(tmp_path, force=True)
        assert case.said in str(caught.value)
        run(tmp_path, more='corrupt_images = "set-aside"', force=True)
        record = store.crops("half", "train").record()
        assert record["set_aside"] == [100008]
        assert case.said in record["reasons"]["100008"]
    else:
        run(tmp_path, force=True)
        assert store.crops("half", "train").record()["set_aside"] == []
    images, ids = store.load_crops("half", "train")
    others = ids != 100008
    first = np.load(io.BytesIO(before[str(store.crops("half", "train").files[0])]))
    np.testing.assert_array_equal(images[others], first[others])
    pd.testing.assert_frame_equal(store.load_labels(), tiny.labels().sort_index().astype(np.float32))


def test_more_folds_than_galaxies_is_refused(tmp_path):
    tiny.write(tmp_path / "raw")
    flags = tiny.plan(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(path.read_text().replace("folds = 2", "folds = 7"))
    inputs.main([*flags, "--input", str(tmp_path / "raw")])
    with pytest.raises(UserError, match="7 folds"):
        folds.main(flags)
