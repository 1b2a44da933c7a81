"""Folders that a user names to be written to, checked before any work."""

import os
import re
from pathlib import Path

from pipeline.errors import UserError


def folder_to_write(flag: str, given: Path) -> Path:
    """The folder that a flag gives; UserError where it or a parent is a file, or a new one would look like a file."""
    folder = Path(os.path.abspath(given.expanduser()))
    check(flag, folder)
    if not folder.exists() and re.fullmatch(r"\.[A-Za-z]\w{0,7}", folder.suffix):
        raise UserError(
            f"{flag} {given}: expected a folder, and this is the name of a file: give {flag} {given.with_suffix('')}, "
            f"or make that folder first"
        )
    return folder


def check(flag: str, folder: Path) -> None:
    """UserError where the path or a parent of it is a file."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"{flag} {folder}: {existing} is a file; expected a folder, or a place for a new one")
