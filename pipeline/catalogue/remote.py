"""Addresses (https://…, s3://…): whether they can be used at all, and tables fetched from them."""

import logging
import posixpath
import shutil
import tempfile
import weakref
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import UserError

log = logging.getLogger(__name__)
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
CONNECT, READ = 10, 60  # seconds to a connection, and without a byte


def is_address(place: str) -> bool:
    """Whether it is an address, not a path."""
    return "://" in place


def require_usable(address: str) -> None:
    """UserError for the address of an archive, or of a kind for which nothing is installed."""
    if urlsplit(address).path.lower().endswith(ARCHIVES):
        raise is_archive(address)
    if lacks := _lacks(address.split("://")[0].lower()):
        raise UserError(f"{address} cannot be read: {lacks}")


def is_archive(address: str) -> UserError:
    """The sentence on archives, which are read in place."""
    return UserError(f"{address} is an archive at an address: download it, and give the path of the file instead")


@cache
def _lacks(scheme: str) -> str:
    """Why there is no access to addresses of this kind; empty where there is."""
    from fsspec.registry import get_filesystem_class, known_implementations

    try:
        get_filesystem_class(scheme)
    except ImportError as error:
        known = known_implementations.get(scheme, {"class": scheme})
        package, told = known["class"].partition(".")[0], known.get("err", error)
        return f"{scheme}:// needs a package that is not installed ({told}): .venv/bin/pip install {package}"
    except ValueError:
        return f"{scheme}:// is no kind of address that is known here; expected https://, s3://, gs://, …"
    return ""


def fetched(address: str, holder: object) -> Path:
    """A copy of the file at an address, which is there as long as its `holder`; UserError where there is none."""
    require_usable(address)
    folder = tempfile.mkdtemp(prefix="catalogue-")
    weakref.finalize(holder, shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / (posixpath.basename(unquote(urlsplit(address).path)) or "catalogue")
    log.info("%-10s fetching %s", "catalogue", address)
    try:
        _file_system(address).get_file(address, str(path))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"there is no file at {address}: expected a table there") from None
    except Exception as error:  # every file system has its own
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{address} cannot be fetched ({why}): give the same command again, or a file") from None
    return path


def _file_system(address: str):
    import fsspec

    scheme = address.split("://")[0].lower()
    if scheme not in ("http", "https"):
        return fsspec.filesystem(scheme)
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=READ)
    return fsspec.filesystem(scheme, client_kwargs={"trust_env": True, "timeout": patience}, skip_instance_cache=True)
