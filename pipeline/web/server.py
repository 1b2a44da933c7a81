"""A local server: where it listens, whom it answers."""

import json
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pipeline.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
Asgi = Callable[[dict[str, Any], Callable, Callable], Awaitable[None]]


def require_packages(command: str) -> None:
    """UserError where the packages of a server are not installed."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise UserError(f"{command} needs FastAPI: .venv/bin/python -m pip install -r requirements-extra.txt") from None


def listening(host: str, port: int, command: str) -> socket.socket:
    """A socket there; UserError where there can be none."""
    if not 0 <= port < 1 << 16:
        raise UserError(f"--port {port}: expected a number from 0 to 65535")
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{command} cannot listen on {host}, port {port}: {why}; choose by --host and --port") from None


def run(app: "FastAPI", on: socket.socket, host: str, command: str) -> None:
    """Answer until Ctrl-C."""
    import uvicorn

    log.info("%-10s http://%s:%d (end with Ctrl-C)", command, host, on.getsockname()[1])
    with suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(guarded(app, host), log_level="warning")).run(sockets=[on])


def guarded(app: Asgi, host: str) -> Asgi:
    """The application, closed to what other web pages make a browser ask.

    A server on loopback answers to this machine's names only, so that no address that is made to lead here can be
    read from (DNS rebinding); and none takes a POST that another site's page sends.
    """

    async def answer(scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        why = _refusal(scope, host) if scope["type"] == "http" else ""
        if not why:
            await app(scope, receive, send)
            return
        body = json.dumps({"detail": why}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return answer


def _refusal(scope: dict[str, Any], host: str) -> str:
    """Why a request is not answered; empty where it is."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    asked, origin = headers.get("host", ""), headers.get("origin")
    if (host in LOOPBACK or host.startswith("127.")) and _name(f"//{asked}") not in (*LOOPBACK, host):
        return f"This server answers to {', '.join(LOOPBACK)} only, not to {asked!r}."
    if scope["method"] not in ("GET", "HEAD") and origin is not None and urlsplit(origin).netloc != asked:
        return f"This server takes nothing from pages of {origin!r}."
    return ""


def _name(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
