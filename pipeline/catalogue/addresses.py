"""Images at URLs: retries with back-off within time limits, and a circuit breaker for hosts that are down."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pipeline.catalogue import image_files
from pipeline.errors import DamagedImage, UserError

log = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 16  # read at once
TRANSIENT_CODES = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}  # HTTP codes worth a retry
LATER = "the same command tries again"


class Limits(NamedTuple):
    """Time-outs in seconds, and numbers of attempts."""

    connect: float = 10
    read: float = 20  # without a byte
    total: float = 60  # for one image, with all attempts and pauses
    attempts: int = 4
    pause: float = 1  # after the first attempt; each time three times as long
    max_failures: int = 10  # in a row, after which a host is not contacted again


class TransientError(Exception):
    """A failure that a retry may mend, not before `after` seconds."""

    def __init__(self, why: str, after: float = 0):
        super().__init__(why)
        self.after = after


class Host:
    """State of one host: when it may be contacted again, and how often it failed in a row."""

    def __init__(self, name: str, max_failures: int):
        self.name, self.max_failures = name, max_failures
        self.back_off_until, self.failures, self.last_error = 0.0, 0, ""
        self._lock = threading.Lock()

    def is_down(self) -> bool:
        """Whether it has failed so often that it is not contacted again."""
        return self.failures >= self.max_failures

    def wait_until_ready(self, longest: float) -> None:
        """Wait as long as the host asked for; TransientError where that is more than `longest` seconds."""
        left = self.back_off_until - time.monotonic()
        if left > longest:
            raise TransientError(f"{self.name} asks to wait for {left:.0f} seconds")
        time.sleep(max(0.0, left))

    def back_off(self, seconds: float) -> None:
        """Delay all further requests to the host."""
        self.back_off_until = max(self.back_off_until, time.monotonic() + seconds)

    def record_success(self) -> None:
        """The host answered: reset its failures."""
        self.failures = 0

    def record_failure(self, why: str) -> None:
        """Count an image that failed; logged once where the host counts as down."""
        with self._lock:
            self.failures, self.last_error = self.failures + 1, why
            if self.failures == self.max_failures:
                log.warning(
                    "classify   %s failed %d times in a row (%s) and is not contacted again: %s",
                    self.name, self.max_failures, why, LATER,
                )  # fmt: skip


class Addresses:
    """Images at URLs (http, s3, …) or paths; names are appended to `base` where there is one."""

    def __init__(self, base: str | None, limits: Limits = Limits()):  # noqa: B008 (a tuple)
        self.base, self.limits = base, limits
        self._hosts: dict[str, Host] = {}
        self._lock = threading.Lock()
        self._web = None  # an fsspec file system, made at the first address

    def read(self, name: str) -> bytes:
        """See Source. Transient failures are retried, with pauses; their reason says 'at present'."""
        if not name:
            raise DamagedImage("has no image in the catalogue")
        address = self.address(name)
        if "://" not in address:
            return image_files.decompressed(image_files.read(Path(address)))
        host = self._host(address)
        if host.is_down():
            raise DamagedImage(
                f"was not requested: {host.name} failed {host.max_failures} times in a row ({host.last_error}); {LATER}"
            )
        try:
            host.wait_until_ready(self.limits.total)
            return image_files.decompressed(self._fetch_with_retries(address, host))
        except TransientError as error:
            host.record_failure(str(error))
            raise DamagedImage(f"cannot be fetched at present ({error}); {LATER}") from None

    def address(self, name: str) -> str:
        """URL or path of an image. A # in a name is escaped, since a URL's fragment is not sent."""
        return name if self.base is None else f"{self.base.rstrip('/')}/{name.lstrip('/').replace('#', '%23')}"

    def stamp(self, name: str) -> int:
        """See Source. Images at URLs are not checked for changes."""
        address = self.address(name)
        return 1 if "://" in address else image_files.stamp(Path(address))

    def names(self) -> Iterator[str]:
        """See Source."""
        raise UserError("images at addresses cannot be listed: give a catalogue with their ids or addresses")

    def _fetch_with_retries(self, address: str, host: Host) -> bytes:
        """The bytes; TransientError where all attempts failed or time is up, DamagedImage for permanent failures."""
        limits, until = self.limits, time.monotonic() + self.limits.total
        for i in range(limits.attempts):
            try:
                data = self._fetch(address, until - time.monotonic())
            except TransientError as error:
                if error.after:
                    host.back_off(error.after)
                pause = max(error.after, limits.pause * 3**i)
                if i + 1 == limits.attempts or time.monotonic() + pause >= until or host.is_down():
                    raise
                time.sleep(pause)
            except DamagedImage:
                host.record_success()
                raise
            else:
                host.record_success()
                return data
        raise AssertionError("not reached")

    def _fetch(self, address: str, seconds: float) -> bytes:
        if address.lower().startswith(("http://", "https://")):
            return self._fetch_web(address, seconds)
        return _fetch_fsspec(address)

    def _fetch_web(self, address: str, seconds: float) -> bytes:
        import aiohttp

        try:
            web = self._web_file_system()
            return asyncio.run_coroutine_threadsafe(_get(web, address, self.limits, seconds), web.loop).result()
        except aiohttp.TooManyRedirects:
            raise DamagedImage("cannot be fetched (it is redirected in circles)") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlRedirectClientError, UnicodeError) as error:
            raise DamagedImage(f"cannot be fetched (no usable address: {str(error)[:80]})") from None
        except (aiohttp.ClientError, OSError) as error:  # time-outs are of the latter
            raise TransientError((str(error) and _message(error)) or f"not whole after {seconds:.0f} seconds") from None

    def _web_file_system(self):
        """The file system whose event loop and session all threads share; it closes them itself."""
        import fsspec

        with self._lock:
            if self._web is None:
                self._web = fsspec.filesystem("http", client_kwargs={"trust_env": True}, skip_instance_cache=True)
        return self._web

    def _host(self, address: str) -> Host:
        parts = urlsplit(address)
        name = parts.netloc.rpartition("@")[2] or parts.scheme
        with self._lock:
            return self._hosts.setdefault(name, Host(name, self.limits.max_failures))


async def _get(web, address: str, limits: Limits, seconds: float) -> bytes:
    """The body of one response, read in chunks, so that one that is too large is aborted early."""
    import aiohttp

    session = await web.set_session()
    timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=limits.connect, sock_read=limits.read)
    async with session.get(address, timeout=timeout, max_redirects=5) as answer:
        status = " ".join(f"{answer.status} {answer.reason or ''}".split())
        if answer.status in TRANSIENT_CODES:
            raise TransientError(status, _retry_after(answer.headers.get("Retry-After", "")))
        if answer.status != 200:
            raise DamagedImage(f"cannot be fetched ({status})")
        data = bytearray()
        async for part in answer.content.iter_chunked(CHUNK_BYTES):
            data += part
            image_files.check_size(len(data))
        if data.lstrip()[:1] == b"<":
            raise DamagedImage("is a web page or a message of the server, not an image")
        return bytes(data)


def _retry_after(header: str) -> float:
    """Seconds from a Retry-After header, which holds seconds or a date; 0 where it holds neither."""
    try:
        if header[:1].isdigit():
            return max(0.0, float(header))
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _fetch_fsspec(address: str) -> bytes:
    """By the fsspec file system of the URL's scheme, which has its own time-outs."""
    import fsspec

    try:
        with fsspec.open(address, "rb") as file:
            data = file.read(image_files.MAX_BYTES + 1)
    except (FileNotFoundError, PermissionError, IsADirectoryError, ValueError, ImportError) as error:
        raise DamagedImage(f"cannot be fetched ({_message(error)})") from None
    except Exception as error:  # every file system has its own
        raise TransientError(_message(error)) from None
    return image_files.check_size(len(data)) and data


def _message(error: BaseException) -> str:
    """The message of an error, else its class."""
    return " ".join(str(error).split())[:100] or type(error).__name__
