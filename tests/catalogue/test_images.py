"""One rule by which a galaxy finds its image, the same in a folder, a zip, a tar, and a folder of these."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.catalogue import image_files, images
from pipeline.catalogue.galaxies import Galaxies
from pipeline.errors import DamagedImage, UserError
from tests.builders import competition_files as tiny
from tests.builders.galaxy_zoo_2 import GZ2

Members = dict[str, bytes]


def tar(path: Path, members: Members, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def folder(place: Path, members: Members) -> Path:
    return tiny.folder_of(place / "folder", members)


def zipped(place: Path, members: Members) -> Path:
    return tiny.zip_of(place / "all.zip", members)


def tarred(place: Path, members: Members) -> Path:
    return tar(place / "all.tar", members)


def dotted(place: Path, members: Members) -> Path:
    """As `tar -cf all.tar .` makes it."""
    return tar(place / "all.tar", {f"./{name}": data for name, data in members.items()})


def dotted_zip(place: Path, members: Members) -> Path:
    return tiny.zip_of(place / "all.zip", {f"./{name}": data for name, data in members.items()})


def windows(place: Path, members: Members) -> Path:
    return tiny.zip_of(place / "all.zip", {name.replace("/", "\\"): data for name, data in members.items()})


def misnamed(place: Path, members: Members) -> Path:
    return tar(place / "images.dat", members)


def _halves(members: Members) -> tuple[Members, Members]:
    items = list(members.items())
    return dict(items[::2]), dict(items[1::2])


def tars(place: Path, members: Members) -> Path:
    (place / "folder").mkdir()
    for i, half in enumerate(_halves(members)):
        tar(place / "folder" / f"{i}.tar", half)
    return place / "folder"


def mixed(place: Path, members: Members) -> Path:
    """Loose images, a tar and a zip in a sub-folder of one folder."""
    first, rest = _halves(members)
    second, third = _halves(rest)
    tiny.folder_of(place / "folder", first)
    (place / "folder" / "more").mkdir(exist_ok=True)
    tar(place / "folder" / "a.tar", second)
    tiny.zip_of(place / "folder" / "more" / "b.ZIP", third)
    return place / "folder"


CONTAINERS = [folder, zipped, tarred, dotted, dotted_zip, windows, misnamed, tars, mixed]


def found(source: images.Source, name: str) -> bytes | str:
    try:
        return source.read(name)
    except DamagedImage as error:
        return str(error)


@pytest.fixture(params=CONTAINERS)
def pack(request, tmp_path):
    return lambda members: request.param(tmp_path, members)


MEMBERS = {
    "1237.1.jpg": b"a",
    "1237.2.jpg": b"b",
    "J112953.88+000427.4.jpg": b"c",
    "deep/down/000104.PNG": b"d",
    "deep/104.jpeg": b"e",
    "x/5.fits": b"f",
    "name with blank, comma.jpg": b"g",
    "é星.jpg": b"h",
    "12e5.JPG": b"i",
}
ASKED = {
    "1237.1": b"a",
    "1237.1.jpg": b"a",
    "1237.2": b"b",
    "1237": None,
    "J112953.88+000427.4": b"c",
    "J112953.88+000427": None,
    "000104": b"d",
    "104": b"e",
    "0104": None,
    "104.0": None,
    "deep/104.jpeg": b"e",
    "./deep/104": b"e",
    "deep\\104.jpeg": b"e",
    "104.jpg": b"e",  # another suffix
    "000104.png": b"d",
    "shallow/104": None,  # of another folder
    "/data/of/another/machine/104.jpg": b"e",
    "here/deep/104.jpg": b"e",
    "x/5": b"f",
    "name with blank, comma": b"g",
    "name%20with%20blank%2C%20comma.jpg": b"g",
    "é星": b"h",
    "e\u0301星.jpg": b"h",  # as macOS writes it
    "12e5": b"i",
    "1200000.0": None,
    "": None,
    ".": None,
    "/": None,
    "\0": None,
    "x" * 5000: None,
}


def test_every_name_means_the_same_everywhere(pack):
    source = images.open_source(str(pack(MEMBERS)))
    for name, expected in ASKED.items():
        answer = found(source, name)
        assert answer == expected if expected else isinstance(answer, str), name
    assert "is not among the images" in found(source, "1237")
    assert "deep/104.jpeg is" in found(source, "shallow/104")
    assert found(source, "") == "has no image in the catalogue"


def test_names_lead_nowhere_else(pack, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    source = images.open_source(str(pack({"in/1.jpg": b"one", "2.jpg": b"two"})))
    for name in ("../secret.jpg", "../secret", "in/../../secret", str(tmp_path / "secret.jpg"), "%2e%2e/secret"):
        assert isinstance(found(source, name), str), name
    assert "points outside" in found(source, "../2.jpg")


def test_an_ambiguous_name_is_told_with_both(pack):
    source = images.open_source(
        str(pack({"train/1.jpg": b"a", "test/1.jpg": b"b", "in/2.jpg": b"c", "in/2.png": b"d"}))
    )
    assert "has 2 images: " in found(source, "1")
    assert "train/1.jpg" in found(source, "1")
    assert "test/1.jpg" in found(source, "1.jpg")
    assert found(source, "train/1") == b"a"
    assert found(source, "test/1.jpg") == b"b"
    assert "2.jpg" in found(source, "2")
    assert "2.png" in found(source, "2")
    assert found(source, "2.png") == b"d"


def test_ids_of_images_are_whole_and_unique(pack):
    def ids(members: Members) -> list[str]:
        made = Galaxies(pack(members), None, {})
        frames = list(made.batches())
        made.survey(GZ2)
        source = images.open_source(made.where)
        for frame in frames:
            for identity, image in zip(frame["id"], frame["image"], strict=True):
                assert source.read(image) == source.read(identity)  # the id finds its image too
        return sorted(identity for frame in frames for identity in frame["id"])

    assert ids({"J112953.88+000427.4.jpg": b"a", "in/1237.1.JPG": b"b", "in/1237.2.fits": b"c"}) == sorted(
        ["J112953.88+000427.4", "1237.1", "1237.2"]
    )


def test_images_of_one_name_get_ids_with_their_folders(tmp_path, caplog):
    caplog.set_level("INFO")
    for pack in (folder, zipped, tarred):
        place = tmp_path / pack.__name__
        place.mkdir()
        made = next(Galaxies(pack(place, {"train/1.jpg": b"a", "test/1.jpg": b"b"}), None, {}).batches())
        assert sorted(made["id"]) == ["test/1", "train/1"]
    assert "ids tell their folders" in caplog.text
    both = next(Galaxies(tiny.zip_of(tmp_path / "a.zip", {"1.jpg": b"a", "1.png": b"b"}), None, {}).batches())
    assert sorted(both["id"]) == ["1.jpg", "1.png"]


def test_two_tars_of_the_same_names_keep_all_images(tmp_path):
    for i in range(2):
        tar(tmp_path / f"{i}.tar", {f"{k}.jpg": b"%d%d" % (i, k) for k in range(3)})
    galaxies = Galaxies(tmp_path, None, {})
    assert galaxies.survey(GZ2)[1] == 6
    source = images.open_source(str(tmp_path))
    frame = next(galaxies.batches())
    assert {source.read(name) for name in frame["image"]} == {b"00", b"01", b"02", b"10", b"11", b"12"}
    assert "0.tar/1.jpg and 1.tar/1.jpg" in found(source, "1")
    assert found(source, "1.tar/1.jpg") == b"11"


def test_loose_images_beside_a_tar_are_all_there(tmp_path):
    tiny.folder_of(tmp_path, {f"{k}.jpg": b"x" for k in range(5)})
    tar(tmp_path / "a.tar", {"6.jpg": b"y"})
    assert Galaxies(tmp_path, None, {}).survey(GZ2)[1] == 6


@pytest.mark.parametrize("pack", [zipped, tarred, folder])
def test_what_is_passed_over_is_counted_and_told(tmp_path, caplog, pack):
    others = {"a.TXT": b"", "b.txt": b"", "c.webp": b"", "d": b"", ".hidden.jpg": b"", "__MACOSX/._1.jpg": b""}
    place = pack(tmp_path, {"1.jpg": b"x", **others})
    Galaxies(place, None, {})
    assert "6 files passed over: " in caplog.text
    assert ".txt 2" in caplog.text
    assert "hidden 2" in caplog.text
    assert ".webp 1" in caplog.text
    assert "without suffix 1" in caplog.text


def test_nothing_but_others_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        Galaxies(folder(tmp_path, {"a.webp": b""}), None, {})


@pytest.mark.parametrize("name", ["1.fits.gz", "1.FIT.GZ", "1.fits.fz"])
def test_compressed_fits_are_images(tmp_path, name):
    data = b"SIMPLE  =" * 99 if name.endswith("fz") else gzip.compress(b"SIMPLE  =" * 99)
    source = images.open_source(str(folder(tmp_path, {name: data})))
    assert source.read("1") == b"SIMPLE  =" * 99
    assert next(Galaxies(tmp_path / "folder", None, {}).batches())["id"].tolist() == ["1"]


def test_a_gzip_that_is_none(tmp_path, monkeypatch):
    whole = gzip.compress(bytes(range(256)) * 99)
    broken = {"1.fits.gz": whole[:-20], "2.fits.gz": whole[:20] + b"\xff" * 99, "3.fits.gz": gzip.compress(bytes(9999))}
    source = images.open_source(str(folder(tmp_path, broken)))
    assert "gzip without its end" in found(source, "1")
    assert "does not unpack" in found(source, "2")
    monkeypatch.setattr(image_files, "MAX_BYTES", 999)
    monkeypatch.setattr(image_files, "MAX_BYTES", 999)
    assert "far more than an image" in found(source, "3")


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_one_archive_is_told(tmp_path, pack):
    first = pack(tmp_path, {"1.jpg": b"a", "2.jpg": b"b"})
    if pack is zipped:
        with zipfile.ZipFile(first, "a") as archive:
            archive.writestr("1.jpg", b"another")
    else:
        with tarfile.open(first, "a") as archive:
            info = tarfile.TarInfo("./1.jpg")
            info.size = 1
            archive.addfile(info, io.BytesIO(b"c"))
    source = images.open_source(str(first))
    assert found(source, "1") == "has 2 images of one name, 1.jpg"
    assert found(source, "2") == b"b"
    with pytest.raises(UserError, match=r"stand there twice: 1 \(such as 1.jpg\)"):
        Galaxies(first, None, {})


def test_links_in_a_tar_are_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind, target in (
            ("in/1.jpg", tarfile.REGTYPE, ""),
            ("in/2.jpg", tarfile.LNKTYPE, "in/1.jpg"),
            ("in/3.jpg", tarfile.SYMTYPE, "1.jpg"),
            ("4.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, 3 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"one") if info.size else None)
    source = images.open_source(str(tmp_path / "a.tar"))
    assert [found(source, name) for name in "123"] == [b"one"] * 3
    assert "no plain file" in found(source, "4")


def test_links_of_a_folder_are_followed_once(tmp_path):
    tiny.folder_of(tmp_path / "elsewhere", {"1.jpg": b"one"})
    (tmp_path / "folder").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "folder" / "link")
    os.symlink(tmp_path / "folder", tmp_path / "folder" / "loop")
    os.symlink(tmp_path / "nowhere.jpg", tmp_path / "folder" / "2.jpg")
    source = images.open_source(str(tmp_path / "folder"))
    assert sorted(source.names()) == ["2.jpg", "link/1.jpg"]
    assert found(source, "1") == b"one"
    assert "cannot be read" in found(source, "2")


def cut(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def whole_tar(tmp_path: Path) -> bytes:
    return tar(tmp_path / "whole.tar", {f"{k}.jpg": b"x" * 900 for k in range(30)}).read_bytes()


NO_SOURCE = {
    "nothing there": (lambda f: f / "none", "there are no images at"),
    "a compressed tar": (lambda f: tar(f / "a.tar.gz", {"1.jpg": b"1"}, "w:gz"), "compressed tar; .*decompress it"),
    "no zip": (lambda f: cut(f / "a.zip", b"no zip"), "is not a whole zip"),
    "half a zip": (lambda f: cut(f / "a.zip", zipped(f, MEMBERS).read_bytes()[:300]), "not a whole zip"),
    "half a tar": (lambda f: cut(f / "a.tar", whole_tar(f)[:20_000]), "not a whole tar file"),
    "a tar cut between members": (lambda f: cut(f / "a.tar", whole_tar(f)[: 1536 * 7]), "no end where"),
    "a damaged tar": (lambda f: cut(f / "a.tar", whole_tar(f).replace(b"7.jpg", b"8.jpg")), "no end where"),
    "two tars in one": (lambda f: cut(f / "a.tar", 2 * whole_tar(f)), "another archive follows"),
    "a table": (lambda f: cut(f / "a.csv", b"id\n1\n"), "is text, not a folder, zip or tar"),
    "names outside": (lambda f: tar(f / "a.tar", {"../1.jpg": b"1"}), "point outside"),
    "an empty file": (lambda f: cut(f / "a.tar", b""), "is empty"),
}


@pytest.mark.parametrize(("make", "said"), NO_SOURCE.values(), ids=NO_SOURCE)
def test_what_is_no_source_is_told(tmp_path, make, said):
    with pytest.raises(UserError, match=said):
        images.open_source(str(make(tmp_path)))


def test_a_tar_cut_short_while_it_is_read(tmp_path):
    path = tar(tmp_path / "a.tar", {"1.jpg": b"1" * 5000})
    source = images.open_source(str(path))
    with open(path, "r+b") as file:
        file.truncate(2000)
    assert "cut short" in found(source, "1.jpg")


def test_a_file_name_that_is_no_text_is_told(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    with pytest.raises(UserError, match=r"not UTF-8: 1, such as 'caf\\udce9.jpg': rename"):
        Galaxies(tmp_path, None, {})


def test_addresses_fail_with_a_reason():
    source = images.open_source("http://127.0.0.1:9")
    with pytest.raises(DamagedImage, match="cannot be fetched"):
        source.read("1.jpg")
    with pytest.raises(DamagedImage, match="has no image in the catalogue"):
        source.read("")
    with pytest.raises(UserError, match="cannot be listed"):
        source.names()


def test_one_image_is_no_catalogue(tmp_path):
    (tmp_path / "1.jpg").write_bytes(tiny.jpeg(tiny.galaxy(1)))
    with pytest.raises(UserError, match="no table but image"):
        Galaxies(tmp_path / "1.jpg", None, {})
    with pytest.raises(UserError, match="there is no file"):
        Galaxies(tmp_path / "none.csv", None, {})
