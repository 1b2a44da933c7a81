"""JSON files that the pipeline writes for itself: sealed by their own sha256, which is checked when they are read."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.errors import Damaged

SEAL = "seal"
LARGEST = 1 << 26  # bytes; the record of 61,578 images that were all set aside has 6 MB


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The same with its seal, a sha256 of the content."""
    return content | {SEAL: _checksum(json.loads(json.dumps(content)))}  # as it will be read: keys become text


def load(path: Path, mend: str) -> dict[str, Any] | None:
    """The content of a file, without its seal; None where there is none. Earlier versions sealed nothing.

    Damaged where it cannot be read, is no JSON object or breaks its seal; `mend` ends that sentence.
    """
    try:
        return _parsed(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        why = error.strerror or str(error)
    except RecursionError:
        why = "nested too deeply"
    except ValueError as error:
        why = str(error)
    raise Damaged(f"{path} is damaged ({why}); {mend}")


def _parsed(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"more than {LARGEST >> 20} MB")
    return unsealed(data)


def unsealed(data: bytes) -> dict[str, Any]:
    """The content of JSON, without its seal; ValueError where it is no object or breaks its seal."""
    content = json.loads(data.decode("utf-8-sig"))
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object")
    seal = content.pop(SEAL, None)
    if seal is not None and seal != _checksum(content):
        raise ValueError("it is not what was written: its checksum differs")
    return content


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
