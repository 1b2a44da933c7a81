"""Tables and images at addresses: found as in a folder, or refused in one sentence before the work."""

import http.server
import importlib
import threading
import zipfile
from collections import Counter
from functools import partial
from pathlib import Path

import fsspec
import pytest

from pipeline.catalogue import remote
from pipeline.catalogue.addresses import ENDINGS, Addresses, Limits
from pipeline.catalogue.galaxies import Galaxies
from pipeline.catalogue.image_names import SUFFIXES
from pipeline.errors import DamagedImage, UserError
from tests.builders.galaxy_zoo_2 import GZ2

IMAGE = b"\xff\xd8" + bytes(range(256)) * 8


class Folder(http.server.SimpleHTTPRequestHandler):
    """A folder, with a page for what is not there below spa/, and no word on what is not there below bucket/."""

    asked: Counter = Counter()  # noqa: RUF012

    def do_GET(self) -> None:
        Folder.asked[self.path] += 1
        there = Path(self.translate_path(self.path)).is_file()
        if not there and self.path.startswith(("/spa/", "/bucket/")):
            self.send_response(200 if self.path.startswith("/spa/") else 403)
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE html>")
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path):
    """(the folder, its address)."""
    Folder.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Folder, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def put(path: Path, data: bytes = IMAGE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.mark.parametrize("place", ["cutouts", "spa", "bucket"])
@pytest.mark.parametrize("ending", ["", ".jpg", ".png", ".fits.fz"])
def test_an_id_finds_its_image_with_any_ending(served, place, ending):
    folder, base = served
    for name in ("1237.1", "2", "3"):
        put(folder / place / f"{name}{ending}")
    source = Addresses(f"{base}/{place}/")
    assert [source.read(name) for name in ("1237.1", "2", "3")] == [IMAGE] * 3
    assert Folder.asked.total() == ENDINGS.index(ending) + 3  # the others are asked for with this ending at once


def test_an_image_with_another_ending_than_most_is_found_too(served):
    folder, base = served
    put(folder / "1.jpg")
    put(folder / "2.fits")
    source = Addresses(base)
    assert [source.read(name) for name in ("1", "2", "1")] == [IMAGE] * 3


def test_what_is_not_there_says_what_was_tried(served):
    source = Addresses(served[1])
    with pytest.raises(DamagedImage, match=r"404 .*nor is 7\.jpg, 7\.png, 7\.fits, … there"):
        source.read("7")
    assert Folder.asked.total() == len(ENDINGS)
    with pytest.raises(DamagedImage, match=r"cannot be fetched \(404[^.]*\)$"):
        source.read("7.jpg")
    assert Folder.asked.total() == len(ENDINGS) + 1


def test_every_ending_of_an_image_is_tried():
    assert {*ENDINGS} == {"", *SUFFIXES}


def test_other_file_systems_do_the_same():
    with fsspec.open("memory://cutouts/1.png", "wb") as file:
        file.write(IMAGE)
    source = Addresses("memory://cutouts", Limits(attempts=1))
    assert source.read("1") == IMAGE
    with pytest.raises(DamagedImage, match=r"is not there, nor is 2\.jpg"):
        source.read("2")


def test_a_table_at_an_address(served):
    folder, base = served
    put(folder / "a b.csv", b"id,image,ra\n1,in/1.jpg,2\n2,http://else/2.jpg,3\n")
    with fsspec.open("memory://tables/a.csv", "wb") as file:
        file.write((folder / "a b.csv").read_bytes())
    for address, parent in ((f"{base}/a%20b.csv?download=1", base), ("memory://tables/a.csv", "memory://tables")):
        galaxies = Galaxies(address, None, {})
        assert galaxies.survey(GZ2)[1] == 2
        assert next(galaxies.batches())["image"].tolist() == [f"{parent}/in/1.jpg", "http://else/2.jpg"]


TABLES = {
    "nothing there": ("no.csv", "there is no file at http://127"),
    "a web page": ("page", "http://[^ ]*/page is no table but web page"),
    "a mistake in it": ("twice.csv", "http://[^ ]*/twice.csv: the id 1 stands there twice"),
    "an archive": ("all.zip", "is an archive at an address: download it"),
    "an archive without a suffix": ("download", "/download is an archive at an address: download it"),
    "an archive with a query": ("files/all.tar.gz?download=1", "is an archive at an address: download it"),
}


@pytest.mark.parametrize(("name", "said"), TABLES.values(), ids=TABLES)
def test_what_is_no_table_at_an_address_is_one_sentence(served, name, said):
    put(served[0] / "page", b"<!DOCTYPE html><html></html>")
    put(served[0] / "twice.csv", b"id\n1\n1\n")
    with zipfile.ZipFile(served[0] / "download", "w") as archive:
        archive.writestr("1.jpg", IMAGE)
    with pytest.raises(UserError, match=said):
        Galaxies(f"{served[1]}/{name}", "http://nowhere", {}).survey(GZ2)


def test_archives_of_images_at_addresses_are_refused(served, tmp_path):
    put(tmp_path / "a.csv", b"id\n1\n")
    with pytest.raises(UserError, match=r"all\.zip is an archive at an address: download it"):
        Galaxies(tmp_path / "a.csv", f"{served[1]}/all.zip", {})
    put(served[0] / "1.jpg", b"PK\3\4" + bytes(900))
    with pytest.raises(DamagedImage, match="is an archive, not an image"):
        Addresses(served[1]).read("1.jpg")


@pytest.fixture
def _without_s3fs(monkeypatch):
    registry = importlib.import_module("fsspec.registry")  # whose name in its package is another object's
    known = registry.get_filesystem_class

    def lacking(scheme: str):
        if scheme == "s3":
            raise ImportError("Install s3fs to access S3")
        return known(scheme)

    monkeypatch.setattr(registry, "get_filesystem_class", lacking)
    remote._lacks.cache_clear()
    yield
    remote._lacks.cache_clear()


@pytest.mark.usefixtures("_without_s3fs")
def test_addresses_that_nothing_installed_can_read_are_told_before_the_work(tmp_path):
    said = r"^s3://survey/[^ ]* cannot be read: s3:// needs a package that is not installed .*pip install s3fs$"
    put(tmp_path / "a.csv", b"id,image\n1,1.jpg\n2,s3://survey/2.jpg\n")
    with pytest.raises(UserError, match=said):
        Galaxies(tmp_path / "a.csv", "s3://survey/", {})
    with pytest.raises(UserError, match=said):
        Galaxies(tmp_path / "a.csv", None, {}).survey(GZ2)
    with pytest.raises(UserError, match=said):
        Galaxies("s3://survey/a.csv", None, {})
    with pytest.raises(UserError, match="sftq:// is no kind of address"):
        Galaxies(tmp_path / "a.csv", "sftq://survey/", {})
