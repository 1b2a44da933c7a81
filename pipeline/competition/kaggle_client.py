"""Kaggle by its official client, whose mistakes are told as sentences and whose tokens reach no log."""

import contextlib
import importlib.util
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.competition.source_files import SLUG
from pipeline.errors import UserError

if TYPE_CHECKING:
    from kaggle.api.kaggle_api_extended import KaggleApi

log = logging.getLogger(__name__)
SETTINGS = "https://www.kaggle.com/settings/api"
RULES = f"https://www.kaggle.com/c/{SLUG}/rules"
TOKEN = f"make a token on {SETTINGS} and export it as KAGGLE_API_TOKEN, or save it in ~/.kaggle/access_token"
AGAIN = "the same command goes on from there"


def client() -> "KaggleApi":
    """The client, signed in. UserError where it is not installed, or there are no credentials that Kaggle takes."""
    if missing := [name for name in ("kaggle", "six") if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"this needs Kaggle's client, and {' and '.join(missing)} is not installed: `./run.sh` installs it by "
            f"itself; elsewhere `pip install -r requirements-extra.txt`"
        )
    with told("signing in"):
        try:
            from kaggle.api.kaggle_api_extended import KaggleApi  # signs in once while it is imported, and is silent

            api = KaggleApi()
            api.authenticate()
        except SystemExit:
            raise UserError(_no_credentials()) from None
    return api


def _no_credentials() -> str:
    """Why nobody is signed in: nothing was given, or what was given is not taken."""
    from kagglesdk.kaggle_env import get_access_token_from_env

    _, source = get_access_token_from_env()
    if source:
        where = {"access_token": "~/.kaggle/access_token"}.get(source, source)
        return f"Kaggle does not take the token of {where}, or it has expired: {TOKEN}"
    legacy = Path(os.environ.get("KAGGLE_CONFIG_DIR", "~/.kaggle")).expanduser() / "kaggle.json"
    if legacy.is_file():
        return f"{legacy} holds no username and key as JSON: download it again, or {TOKEN}"
    return f"nobody is signed in to Kaggle: {TOKEN} (an older kaggle.json with username and key does as well)"


class _Printed(io.StringIO):
    """What the client prints: only that it tries again is for the user."""

    def write(self, text: str) -> int:
        if "Retrying in" in text or "Will retry in" in text:
            log.warning("%-10s the connection broke or Kaggle asks to wait: trying again", "kaggle")
        return len(text)


@contextlib.contextmanager
def told(doing: str) -> Iterator[None]:
    """Requests to Kaggle: what goes wrong becomes one sentence, what the client prints (addresses, tokens) nothing."""
    from requests import exceptions

    try:
        with contextlib.redirect_stdout(_Printed()):
            yield
    except exceptions.HTTPError as error:
        raise UserError(f"{doing}: {_refusal(error.response)}") from None
    except (exceptions.ConnectionError, exceptions.Timeout, exceptions.ChunkedEncodingError):
        raise UserError(f"{doing}: Kaggle cannot be reached, or the connection broke; {AGAIN}") from None


def _refusal(response) -> str:
    """What an HTTP status of Kaggle means here, and what mends it."""
    status = response.status_code if response is not None else 0
    if status == 401:
        return f"Kaggle does not take these credentials: {TOKEN}"
    if status == 403:
        return f"Kaggle refuses (403): accept the competition's rules on {RULES}, with the account of this token"
    if status == 404:
        return f"Kaggle knows nothing of this name (404): is {SLUG} still the competition on {RULES}?"
    if status == 429:
        wait = response.headers.get("Retry-After")
        pause = f" for {wait} seconds" if wait and wait.isdecimal() else " a while"
        return f"too many requests (429): wait{pause}; {AGAIN}"
    if status >= 500:
        return f"Kaggle has trouble itself ({status}): try again later; {AGAIN}"
    return f"Kaggle refuses ({status}): {_message(response)}"


def _message(response) -> str:
    """Kaggle's own words, cut to a line; nothing where there are none."""
    try:
        text = str(response.json()["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        text = "it does not say why"
    return " ".join(text.split())[:200]
