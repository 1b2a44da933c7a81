"""Images at addresses: hosts that hang, stop, crawl, are busy or down, on real sockets, with short limits."""

import gzip
import http.server
import threading
import time
from collections import Counter
from email.utils import formatdate
from typing import ClassVar

import pytest

from pipeline.catalogue import image_files, images
from pipeline.catalogue.addresses import Addresses, Limits, _retry_after
from pipeline.errors import DamagedImage, UserError

IMAGE = b"\xff\xd8" + bytes(range(256)) * 8
SHORT = Limits(connect=0.5, read=0.3, total=1.6, attempts=3, pause=0.05, max_failures=3)


class Rude(http.server.BaseHTTPRequestHandler):
    """Behaves as the first folder of the path says; the rest names the image."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[Counter] = Counter()
    ended = threading.Event()

    def do_GET(self) -> None:
        how = self.path.split("/")[1].partition("?")[0]
        Rude.asked[self.path] += 1
        getattr(self, how)()

    def send(self, code: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def whole(self) -> None:
        self.send(200, IMAGE)

    def hangs(self) -> None:
        Rude.ended.wait(5)
        self.close_connection = True

    def stops(self) -> None:
        """Half the body, then nothing, while the connection stays open."""
        self.send(200, IMAGE[:900], len(IMAGE))
        self.hangs()

    def half(self) -> None:
        """Half the body, then the end, at the first try."""
        if Rude.asked[self.path] > 1:
            return self.whole()
        self.close_connection = True
        return self.send(200, IMAGE[:900], len(IMAGE))

    def crawls(self) -> None:
        """A byte every tenth of a second: never silent for long, and never done."""
        self.send(200, b"", len(IMAGE))
        self.drip(IMAGE)

    def mumbles(self) -> None:
        """The same in the header."""
        self.drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000)

    def drip(self, data: bytes) -> None:
        self.close_connection = True
        for byte in data:
            if Rude.ended.wait(0.1):
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()

    def busy(self) -> None:
        return self.whole() if Rude.asked[self.path] > 2 else self.send(503)

    def often(self) -> None:
        return self.whole() if Rude.asked[self.path] > 1 else self.send(429, Retry_After="1")

    def much(self) -> None:
        self.send(429, Retry_After="3600")

    def down(self) -> None:
        self.send(503)

    def closes(self) -> None:
        self.close_connection = True

    def missing(self) -> None:
        self.send(404)

    def circle(self) -> None:
        self.send(302, Location=self.path)

    def moved(self) -> None:
        self.send(301, Location="/whole/1.jpg")

    def away(self) -> None:
        self.send(302, Location="file:///etc/passwd")

    def page(self) -> None:
        self.send(200, b"\n<!DOCTYPE html><h1>We are sorry</h1>", Content_Type="image/jpeg")

    def packed(self) -> None:
        self.send(200, gzip.compress(IMAGE), Content_Encoding="gzip")

    def bomb(self) -> None:
        self.send(200, gzip.compress(bytes(image_files.MAX_BYTES + 10)), Content_Encoding="gzip")

    def large(self) -> None:
        self.send(200, bytes(1 << 20), 1 << 40)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Whoever was being served went away: that is what these tests are about."""


@pytest.fixture(scope="module")
def server() -> str:
    with Server(("127.0.0.1", 0), Rude) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        Rude.ended.set()
        made.shutdown()


@pytest.fixture
def base(server) -> str:
    Rude.asked.clear()
    return server


def refused(source: Addresses, name: str) -> str:
    with pytest.raises(DamagedImage) as error:
        source.read(name)
    return str(error.value)


@pytest.mark.parametrize("how", ["whole", "half", "busy", "often", "moved", "packed"])
def test_what_passes_is_tried_again_until_the_image_is_whole(base, how):
    began = time.monotonic()
    assert Addresses(base, SHORT).read(f"{how}/1.jpg") == IMAGE
    assert Rude.asked[f"/{how}/1.jpg"] == {"half": 2, "busy": 3, "often": 2}.get(how, 1)
    if how == "often":
        assert time.monotonic() - began >= 1


@pytest.mark.parametrize(("how", "said", "tries"), [
    ("hangs", "Timeout on reading", 3),
    ("stops", "Timeout on reading", 3),
    ("crawls", "not whole after", 1),
    ("mumbles", "not whole after", 1),
    ("down", "503 Service Unavailable", 3),
    ("closes", "disconnected", 6),  # the client itself asks again where a connection was closed before an answer
    ("much", "429", 1),
])  # fmt: skip
def test_a_rude_host_costs_a_limited_time_and_is_asked_again_by_the_same_command(base, how, said, tries):
    began = time.monotonic()
    reason = refused(Addresses(base, SHORT), f"{how}/1.jpg")
    assert reason.startswith("cannot be fetched at present")
    assert said in reason
    assert time.monotonic() - began < SHORT.total + 0.5
    assert Rude.asked[f"/{how}/1.jpg"] == tries


@pytest.mark.parametrize(("how", "said"), [
    ("missing", "404 Not Found"),
    ("circle", "in circles"),
    ("away", "no usable address"),
    ("page", "is a web page"),
    ("bomb", "far more than an image"),
    ("large", "far more than an image"),
])  # fmt: skip
def test_what_will_not_pass_is_not_tried_again(base, how, said, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_BYTES", 1 << 19)
    reason = refused(Addresses(base, SHORT), f"{how}/1.jpg")
    assert said in reason
    assert "at present" not in reason
    assert Rude.asked[f"/{how}/1.jpg"] == (5 if how == "circle" else 1)


def test_a_host_that_is_down_is_left_alone_and_that_is_said_once(base, caplog):
    source = Addresses(None, SHORT._replace(attempts=1))
    reasons = [refused(source, f"{base}/down/{i}.jpg") for i in range(9)]
    assert sum(Rude.asked.values()) == 3
    assert all("was not requested: 127.0.0.1" in reason and "same command" in reason for reason in reasons[3:])
    assert caplog.text.count("failed 3 times in a row") == 1
    other = base.replace("127.0.0.1", "localhost")
    assert source.read(f"{other}/whole/1.jpg") == IMAGE


def test_images_that_are_not_there_do_not_make_a_host_down(base):
    source = Addresses(base, SHORT)
    for i in range(9):
        refused(source, f"missing/{i}.jpg")
    assert source.read("whole/1.jpg") == IMAGE


def test_a_host_that_asks_for_rest_is_left_alone_by_all(base):
    source = Addresses(base, SHORT)
    refused(source, "much/1.jpg")
    assert "asks to wait for" in refused(source, "whole/1.jpg")
    assert Rude.asked["/whole/1.jpg"] == 0


def test_nobody_listens():
    source = images.open_source("http://127.0.0.1:9")
    source.limits = SHORT
    assert "cannot be fetched at present" in refused(source, "1.jpg")
    with pytest.raises(UserError, match="cannot be listed"):
        source.names()


def test_a_name_is_sent_whole(base):
    source = Addresses(f"{base}/whole", SHORT)
    for name, asked in {"J1+2#3.jpg": "J1+2%233.jpg", "a b.jpg": "a%20b.jpg", "é.jpg": "%C3%A9.jpg"}.items():
        assert source.read(name) == IMAGE
        assert Rude.asked[f"/whole/{asked}"] == 1


def test_paths_and_other_file_systems(tmp_path):
    import fsspec

    (tmp_path / "1.jpg").write_bytes(IMAGE)
    with fsspec.open("memory://images/1.jpg", "wb") as file:
        file.write(IMAGE)
    source = Addresses(None, SHORT)
    for name in (str(tmp_path / "1.jpg"), f"file://{tmp_path}/1.jpg", "memory://images/1.jpg"):
        assert source.read(name) == IMAGE
    for name in (str(tmp_path / "2.jpg"), "memory://images/2.jpg", "nothing://2.jpg", "http://"):
        assert "at present" not in refused(source, name)


def test_the_header_retry_after_is_seconds_or_a_date():
    assert _retry_after("7") == 7
    assert 50 < _retry_after(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert [_retry_after(said) for said in ("", "soon", "-3", "Mon")] == [0, 0, 0, 0]
