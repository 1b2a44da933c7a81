"""Whom a server answers."""

import asyncio

import pytest

from pipeline.web import server


def asked(on: str, method: str, **headers: str) -> int:
    """The status of a request to a server that listens on `on`."""
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    asyncio.run(server.guarded(app, on)({"type": "http", "method": method, "headers": pairs}, None, send))
    return sent[0]["status"]


@pytest.mark.parametrize(("host", "asked_for", "status"), [
    ("127.0.0.1", "127.0.0.1:8000", 200),
    ("127.0.0.1", "localhost:9999", 200),
    ("localhost", "[::1]:80", 200),
    ("127.0.0.2", "127.0.0.2:80", 200),
    ("127.0.0.1", "evil.example", 403),
    ("127.0.0.1", "127.0.0.1.evil.example:8000", 403),
    ("127.0.0.1", "[", 403),
    ("127.0.0.1", "", 403),
    ("0.0.0.0", "galaxies.example:8000", 200),
])  # fmt: skip
def test_on_loopback_only_this_machine_is_answered(host, asked_for, status):
    assert asked(host, "GET", host=asked_for) == status
    assert asked(host, "POST", host=asked_for) == status


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(("origin", "status"), [
    ("http://localhost:8000", 200),
    ("http://localhost:8001", 403),
    ("http://evil.example", 403),
    ("null", 403),
])  # fmt: skip
def test_a_page_of_another_site_can_send_nothing(host, origin, status):
    assert asked(host, "POST", host="localhost:8000", origin=origin) == status
    assert asked(host, "GET", host="localhost:8000", origin=origin) == 200  # whose answer its browser keeps from it
