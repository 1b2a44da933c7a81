"""Images of any format: what Pillow sees in them, nothing of what is damaged, and a caveat where they look strange."""

import io
import os
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from pipeline.catalogue import pixels
from pipeline.competition import cutout, source_files
from pipeline.competition.source_files import Images
from pipeline.errors import DamagedImage
from pipeline.plans.crops import Crop
from tests.builders import competition_files as tiny

GIVEN = os.environ.get("GALAXY_ZOO_INPUT")
CROPS = [Crop(region=256, size=128), Crop(region=424, size=64)]
GALAXY = tiny.galaxy(3, side=150)[..., ::-1]
GREY = np.ascontiguousarray(GALAXY[..., 1])
RAMP = np.tile(np.linspace(0, 255, 150).astype(np.uint8), (150, 1))  # from transparent to opaque


def cut(data: bytes) -> tuple[list[np.ndarray], str]:
    targets = [np.zeros((crop.size, crop.size, 3), np.uint8) for crop in CROPS]
    return targets, pixels.cut(data, CROPS, targets)


def shown(data: bytes) -> np.ndarray:
    return pixels.decode(data)[0].copy()


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def as_pillow_shows(data: bytes) -> np.ndarray:
    """On black, 8 bits a pixel."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image).convert("RGB"))


# ---- PNG ----

COLOUR, PALETTE = Image.fromarray(GALAXY), Image.fromarray(GALAXY).quantize(16)
PNGS = {
    "RGB": saved(COLOUR),
    "RGBA": saved(Image.fromarray(np.dstack([GALAXY, RAMP]))),
    "grey": saved(Image.fromarray(GREY)),
    "grey and alpha": saved(Image.fromarray(np.dstack([GREY, RAMP]), "LA")),
    "palette": saved(PALETTE),
    "palette, one transparent": saved(PALETTE, transparency=3),
    "palette, all by degrees": saved(PALETTE, transparency=bytes(range(0, 256, 16))),
    "a transparent grey": saved(Image.fromarray(GREY), transparency=int(np.median(GREY))),
    "a transparent colour": saved(COLOUR, transparency=tuple(map(int, GALAXY[0, 0]))),
    "black and white": saved(Image.fromarray(GREY > 99)),
    "4 bits": saved(PALETTE, bits=4),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("data", PNGS.values(), ids=PNGS)
def test_a_png_is_what_pillow_shows_on_black(data):
    expected = as_pillow_shows(data).astype(int)
    assert expected.any()
    assert np.abs(shown(data) - expected).max() <= 1


def png16(levels: np.ndarray) -> bytes:
    return cv2.imencode(".png", levels.astype(np.uint16))[1].tobytes()


@pytest.mark.parametrize("levels", [GREY, GALAXY, np.dstack([GALAXY, np.full_like(RAMP, 255)])])
@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_pixels_of_16_bits_of_which_fewer_are_used(levels, depth):
    wide = levels.astype(np.uint16) << (depth - 8) | levels >> (16 - depth)
    if levels.ndim == 3 and levels.shape[2] == 4:
        wide[..., 3] = 65535
    made, caveat = pixels.decode(png16(wide))
    np.testing.assert_array_equal(made, (GALAXY[..., ::-1] if levels.ndim == 3 else GREY[..., None].repeat(3, 2)))
    assert caveat == ("" if depth == 16 else f"has 16 bits a pixel and uses {depth} of them: read as {depth}-bit")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(header: tuple[int, ...], data: bytes) -> bytes:
    parts = ((b"IHDR", struct.pack(">IIBBBBB", *header)), (b"IDAT", data), (b"IEND", b""))
    return pixels.PNG + b"".join(chunk(*part) for part in parts)


ROWS = b"".join(b"\0" + row.tobytes() for row in GREY)
BAD_PNGS = {
    "half of the file": (PNGS["RGB"][: len(PNGS["RGB"]) // 2], "cut short"),
    "without its last chunk": (PNGS["RGB"][:-12], "cut short"),
    "half of the rows": (png_of((150, 150, 8, 0, 0, 0, 0), zlib.compress(ROWS[: len(ROWS) // 2])), "be decoded"),
    "half of the stream": (png_of((150, 150, 8, 0, 0, 0, 0), zlib.compress(ROWS)[:-2000]), "be decoded"),
    "no header": (pixels.PNG + chunk(b"IEND", b""), "without its header"),
    "a bomb": (png_of((60_000, 60_000, 8, 0, 0, 0, 0), zlib.compress(ROWS)), "60000 x 60000 pixels"),
    "large and empty": (png_of((4096, 4096, 8, 2, 0, 0, 0), zlib.compress(b"")), "be decoded"),
}


@pytest.mark.parametrize(("data", "said"), BAD_PNGS.values(), ids=BAD_PNGS)
def test_a_png_that_is_not_whole(data, said):
    with pytest.raises(DamagedImage, match=said):
        pixels.decode(data)


def test_any_flipped_bit_of_a_png_is_told():
    rng = np.random.default_rng(0)
    for at in rng.integers(8, len(PNGS["RGB"]), 200):
        data = bytearray(PNGS["RGB"])
        data[at] ^= 1 << rng.integers(8)
        with pytest.raises(DamagedImage):
            pixels.decode(bytes(data))


# ---- JPEG ----

TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"  # a quarter, by its orientation tag
JPEGS = {
    "baseline": saved(COLOUR, "JPEG", quality=85),
    "progressive": saved(COLOUR, "JPEG", quality=85, progressive=True),
    "4:4:4": saved(COLOUR, "JPEG", subsampling=0),
    "grey": saved(Image.fromarray(GREY), "JPEG"),
    "restart markers": saved(COLOUR, "JPEG", restart_marker_rows=1),
    "orientation": saved(COLOUR, "JPEG", exif=TURNED),
    "comment with an end": saved(COLOUR, "JPEG", comment=b"\xff\xd9 is not the end"),
    "wide": saved(Image.fromarray(GALAXY[:100]), "JPEG"),
}  # fmt: skip


@pytest.mark.parametrize("tail", [b"", JPEGS["baseline"], b"\0" * 5000], ids=["", "two", "padded"])
@pytest.mark.parametrize("data", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_is_what_pillow_shows(data, tail):
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(shown(data + tail) - expected).max() <= 2  # two builds of one library
    height, width = expected.shape[:2]
    assert cut(data + tail)[1] == (
        "" if height == width else "is 150 x 100 pixels, of which the central square was taken"
    )


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("data", JPEGS.values(), ids=JPEGS)
def test_a_jpeg_cut_short_is_told(data, share):
    for end in (b"", b"\xff\xd9" if b"\xff\xc2" not in data else b""):
        with pytest.raises(DamagedImage, match=r"cut short|cannot be decoded|without frame header"):
            cut(data[: int(share * len(data))] + end)


def test_cmyk_is_told():
    with pytest.raises(DamagedImage, match="CMYK"):
        cut(saved(COLOUR.convert("CMYK"), "JPEG"))


def drawn(n: int) -> list[bytes]:
    return [tiny.jpeg(tiny.galaxy(seed), 80) for seed in range(n)]


def real(n: int) -> list[bytes]:
    with Images(source_files.find(Path(GIVEN)).train) as images:
        return [images.read(one) for one in images.ids[:: len(images.ids) // n][:n]]


needs_real = pytest.mark.skipif(not GIVEN, reason="GALAXY_ZOO_INPUT names no folder with the competition's real files")
SOURCES = [pytest.param(drawn, id="drawn"), pytest.param(real, id="real", marks=needs_real)]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """One bit of the coded pixels."""
    made = bytearray(data)
    made[rng.integers(data.index(b"\xff\xda") + 14, len(data) - 2)] ^= 1 << rng.integers(8)
    return bytes(made)


@pytest.mark.parametrize("source", SOURCES)
def test_what_the_decoder_notices_is_refused(source):
    """A flipped bit that leaves a valid stream is seen by no decoder; all that Pillow's libjpeg or ours notices is."""
    rng, told, seen = np.random.default_rng(0), 0, 0
    crop = Crop(region=256, size=128)
    for data in source(100):
        made = np.zeros((2, 128, 128, 3), np.uint8)
        cutout.cut(data, [crop], made[:1])  # sound
        try:
            cutout.cut(flipped(data, rng), [crop], made[1:])
        except DamagedImage:
            told += 1
        else:
            seen += np.abs(made[0].astype(int) - made[1]).mean() > 1
    print(f"of 100 JPEGs with one flipped bit {told} are told, {seen} more are visibly spoilt")
    assert told >= 20


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("source", SOURCES)
def test_gross_damage_is_refused_at_either_scale(source, half):
    for i, data in enumerate(source(30)):
        middle = len(data) // 2
        block = np.random.default_rng(i).bytes(500)
        for damaged in (
            data[:middle] + block + data[middle + 500 :],
            data[:middle] + bytes(500) + data[middle + 500 :],
            data[:middle] + data[middle + 500 :],
            data[:middle] + b"\xff\xd9",
        ):
            with pytest.raises(DamagedImage):
                cutout.decode(damaged, half)


@pytest.mark.parametrize("source", SOURCES)
def test_sound_jpegs_are_the_decoders_own_pixels_to_the_bit(source):
    for data in source(60):
        half = simplejpeg.decode_jpeg(data, "RGB", strict=False, min_height=212, min_width=212, min_factor=2)
        whole = simplejpeg.decode_jpeg(data, "RGB", strict=False)
        (small, large), caveat = cut(data)
        np.testing.assert_array_equal(small, half[42:170, 42:170])
        np.testing.assert_array_equal(large, cv2.resize(whole, (64, 64), interpolation=cv2.INTER_AREA))
        assert caveat == ""


# ---- caveats ----


def as_png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (GALAXY // 8, "nearly black"),
        (255 - GALAXY, "like a negative"),
        (np.clip(GALAXY.astype(int) * 20, 0, 255).astype(np.uint8), "like an overexposure|like a negative"),
        (GALAXY, "^$"),
        (GALAXY // 2, "^$"),
    ],
)
def test_images_unlike_the_competitions_have_a_caveat(image, said):
    assert re.search(said, cut(as_png(image))[1])


@pytest.mark.parametrize("level", [0, 90, 255])
def test_an_image_that_shows_nothing_is_refused(level):
    with pytest.raises(DamagedImage, match="one and the same grey"):
        cut(as_png(np.full((90, 90, 3), level, np.uint8)))


@pytest.mark.slow
@needs_real
@pytest.mark.parametrize("split", ["train", "test"])
def test_no_image_of_the_competition_has_a_caveat(split):
    with Images(getattr(source_files.find(Path(GIVEN)), split)) as images:
        assert [cut(images.read(one))[1] for one in images.ids].count("") == len(images.ids)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no JPEG, PNG or FITS image"),
        (b"II*\0" + b"0" * 50, "is a TIFF; expected"),
        (b"RIFF1234WEBPVP8 ", "is a WebP; expected"),
        (b"\n<!doctype html>", "is a web page; expected"),
    ],
)
def test_other_formats_are_named(data, said):
    with pytest.raises(DamagedImage, match=said):
        cut(data)


def test_decoded_pixels_stay_what_they_are_when_the_next_image_is_decoded():
    first, other = saved(COLOUR, "JPEG"), saved(Image.fromarray(255 - GALAXY), "JPEG")
    pixels_of_first = pixels.decode(first)[0]
    before = pixels_of_first.copy()
    pixels.decode(other)
    np.testing.assert_array_equal(pixels_of_first, before)
