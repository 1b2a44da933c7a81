"""Kaggle's official client, with its errors as sentences and its tokens kept out of the logs."""

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
TOKEN_HINT = f"make a token on {SETTINGS} and export it as KAGGLE_API_TOKEN, or save it in ~/.kaggle/access_token"
RESUMES = "the same command resumes"


def client() -> "KaggleApi":
    """The authenticated client. UserError where it is not installed, or Kaggle does not accept the credentials."""
    if missing := [name for name in ("kaggle", "six") if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"this needs Kaggle's client, and {' and '.join(missing)} is not installed: `./run.sh` installs it; "
            f"elsewhere `pip install -r requirements-extra.txt`"
        )
    with errors_as_sentences("signing in"):
        try:
            from kaggle.api.kaggle_api_extended import KaggleApi  # authenticates on import, silently

            api = KaggleApi()
            api.authenticate()
        except SystemExit:
            raise UserError(_no_credentials()) from None
    return api


def _no_credentials() -> str:
    """Why authentication failed: no credentials, or credentials that Kaggle rejects."""
    from kagglesdk.kaggle_env import get_access_token_from_env

    _, source = get_access_token_from_env()
    if source:
        where = {"access_token": "~/.kaggle/access_token"}.get(source, source)
        return f"Kaggle rejects the token of {where}, or it has expired: {TOKEN_HINT}"
    legacy = Path(os.environ.get("KAGGLE_CONFIG_DIR", "~/.kaggle")).expanduser() / "kaggle.json"
    if legacy.is_file():
        return f"{legacy} holds no username and key as JSON: download it again, or {TOKEN_HINT}"
    return f"nobody is signed in to Kaggle: {TOKEN_HINT} (an older kaggle.json with username and key does as well)"


class _ClientOutput(io.StringIO):
    """Swallows what the client prints; only retries are logged."""

    def write(self, text: str) -> int:
        if "Retrying in" in text or "Will retry in" in text:
            log.warning("%-10s the connection broke or Kaggle asks to wait: retrying", "kaggle")
        return len(text)


@contextlib.contextmanager
def errors_as_sentences(doing: str) -> Iterator[None]:
    """Around requests to Kaggle: errors become one sentence, and the client's output (URLs, tokens) is dropped."""
    from requests import exceptions

    try:
        with contextlib.redirect_stdout(_ClientOutput()):
            yield
    except exceptions.HTTPError as error:
        raise UserError(f"{doing}: {_refusal(error.response)}") from None
    except (exceptions.ConnectionError, exceptions.Timeout, exceptions.ChunkedEncodingError):
        raise UserError(f"{doing}: Kaggle cannot be reached, or the connection broke; {RESUMES}") from None


def _refusal(response) -> str:
    """What an HTTP status from Kaggle means, and how to fix it."""
    status = response.status_code if response is not None else 0
    if status == 401:
        return f"Kaggle rejects these credentials: {TOKEN_HINT}"
    if status == 403:
        return f"Kaggle refuses (403): accept the competition's rules on {RULES}, with the account of this token"
    if status == 404:
        return f"Kaggle does not know this name (404): is {SLUG} still the competition on {RULES}?"
    if status == 429:
        wait = response.headers.get("Retry-After")
        pause = f" for {wait} seconds" if wait and wait.isdecimal() else " a while"
        return f"too many requests (429): wait{pause}; {RESUMES}"
    if status >= 500:
        return f"Kaggle has a server error ({status}): try again later; {RESUMES}"
    return f"Kaggle refuses ({status}): {_message(response)}"


def _message(response) -> str:
    """Kaggle's own error message, cut to one line."""
    try:
        text = str(response.json()["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        text = "it does not say why"
    return " ".join(text.split())[:200]
