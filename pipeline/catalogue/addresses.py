"""Images at URLs: retries with back-off within time limits, and a circuit breaker for hosts that are down."""

import asyncio
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.catalogue import image_files, image_names
from pipeline.catalogue.hosts import LATER, Host, Limits, TransientError
from pipeline.errors import DamagedImage, UserError

# endings of the images at an address, tried in turn for a name without one
ENDINGS = ("", ".jpg", ".png", ".fits", ".jpeg", ".fits.gz", ".fit", ".fits.fz", ".fts", ".fit.gz")
ABSENT_CODES = {403, 404, 410}  # HTTP codes for what is not there: stores of objects that cannot be listed say 403
ZIP, TAR = b"PK\3\4", b"ustar"
CHUNK_BYTES = 1 << 16  # read at once
TRANSIENT_CODES = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}  # HTTP codes worth a retry


class Absent(DamagedImage):
    """There is no image of that name; there may be one of another."""


class Addresses:
    """Images at URLs (http, s3, …) or paths; names are appended to `base` where there is one.

    Below a base an image is found by its exact name, else, where the name has no ending, with one of ENDINGS: first
    with the one that others there have.
    """

    def __init__(self, base: str | None, limits: Limits = Limits()):  # noqa: B008 (a tuple)
        self.base, self.limits = base, limits
        self._hosts: dict[str, Host] = {}
        self._lock = threading.Lock()
        self._ending: str | None = None  # of the first image that was found by a name without one
        self._web = None  # an fsspec file system, made at the first address

    def read(self, name: str) -> bytes:
        """See Source. Transient failures are retried, with pauses; their reason says 'at present'."""
        if not name:
            raise DamagedImage("has no image in the catalogue")
        if self.base is None or image_names.suffix_of(name):
            return self._read(self.address(name))
        reasons = {}
        for ending in sorted(ENDINGS, key=lambda ending: ending != self._ending):
            try:
                data = self._read(self.address(name + ending))
            except Absent as error:
                reasons[ending] = str(error)
            else:
                self._ending = ending if self._ending is None else self._ending
                return data
        raise Absent(f"{reasons['']}, nor is {', '.join(f'{name}{ending}' for ending in ENDINGS[1:4])}, … there")

    def _read(self, address: str) -> bytes:
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
        if answer.status in ABSENT_CODES:
            raise Absent(f"cannot be fetched ({status})")
        if answer.status != 200:
            raise DamagedImage(f"cannot be fetched ({status})")
        data = bytearray()
        async for part in answer.content.iter_chunked(CHUNK_BYTES):
            data += part
            image_files.check_size(len(data))
        if data.lstrip()[:1] == b"<":
            raise Absent("is a web page or a message of the server, not an image")
        if data.startswith(ZIP) or data[257:262] == TAR:
            raise DamagedImage("is an archive, not an image: download it and give its path by --images")
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
    except FileNotFoundError:
        raise Absent("is not there") from None
    except (PermissionError, IsADirectoryError, ValueError, ImportError) as error:
        raise DamagedImage(f"cannot be fetched ({_message(error)})") from None
    except Exception as error:  # every file system has its own
        raise TransientError(_message(error)) from None
    return image_files.check_size(len(data)) and data


def _message(error: BaseException) -> str:
    """The message of an error, else its class."""
    return " ".join(str(error).split())[:100] or type(error).__name__
