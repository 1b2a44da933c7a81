"""What people answered on the page of `label`: answers/PERSON.jsonl, a line each time somebody gives or undoes one.

A line holds all that its person has answered of one galaxy by then, so the last line of a person and a galaxy counts.
Lines are appended whole, under a lock, and sealed: of a process that is killed, the last line is whole or not counted.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.errors import Damaged
from pipeline.store import sealed_json
from pipeline.store.records import save_json

State = Literal["begun", "complete", "skipped"]
SOURCE = "source.json"  # beside the answers: the folder of the images
KINDS = {"galaxy": str, "who": str, "when": str, "answers": dict, "state": str, "chosen": str, "schema": str}


@dataclass(frozen=True)
class Line:
    """What a person has answered of a galaxy."""

    galaxy: str
    who: str
    when: str  # in UTC
    answers: dict[str, str]  # question -> answer, by the schema's names
    state: State
    chosen: str  # how the galaxy came to be shown: "random", "rule", "rest"
    schema: str  # digest of the schema that was asked by
    model: dict[str, str] | None = None  # whose answers were known when it was chosen: name, digest and rule

    def same(self, other: "Line | None") -> bool:
        """Whether the other says nothing else of this galaxy."""
        return other is not None and (self.answers, self.state) == (other.answers, other.state)


def remember_images(folder: Path, images: Path) -> None:
    """Keep in which folder the images lie, so that neither `label` nor the run after it must be told again."""
    if images_of(folder) != images:
        folder.mkdir(parents=True, exist_ok=True)
        save_json(folder / SOURCE, sealed_json.sealed({"folder": str(images)}))


def images_of(folder: Path) -> Path | None:
    """The folder of the images that people label; None where that is not known."""
    try:
        found = sealed_json.load(folder / SOURCE, "") or {}
    except Damaged:
        return None
    return Path(found["folder"]) if found.get("folder") else None


def append(folder: Path, line: Line) -> None:
    """Append a line to its person's file and wait until it is on the disk; OSError leaves the file as it was."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.dumps(sealed_json.sealed(asdict(line))).encode() + b"\n"
    file = os.open(folder / f"{line.who}.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        size = os.fstat(file).st_size
        torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"  # by a process that was killed
        try:
            _write(file, b"\n" + data if torn else data)
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


@dataclass(frozen=True, eq=False)
class Answers:
    """The last line of each person and galaxy, and which lines cannot be read; a source of the inputs."""

    lines: dict[tuple[str, str], Line] = field(default_factory=dict)  # (who, galaxy) -> line, the latest last
    damaged: tuple[str, ...] = ()  # 'anna.jsonl, line 3'

    def complete(self) -> list[Line]:
        """What counts as labels, by galaxy and person."""
        return [line for _, line in sorted(self.lines.items()) if line.state == "complete"]

    def sentences(self) -> list[str]:
        """What is damaged, as a sentence, or nothing."""
        if not self.damaged:
            return []
        n = len(self.damaged)
        return [f"{n:,} answer{'s are' if n > 1 else ' is'} damaged or cut short and left out ({self.damaged[0]})"]

    def digest(self) -> str | None:
        """Digest of what counts as labels; None where nothing does."""
        counted = [(one.galaxy, one.who, sorted(one.answers.items())) for one in self.complete()]
        return hashlib.sha256(json.dumps(counted).encode()).hexdigest() if counted else None

    def record(self) -> dict[str, Any] | None:
        """As of an artifact: None where nothing counts."""
        return {} if self.complete() else None

    def verify(self) -> None:
        """Each line is verified as it is read."""


def read(folder: Path) -> Answers:
    """All answers in a folder, of which there may be none."""
    lines: dict[tuple[str, str], Line] = {}
    damaged: list[str] = []
    for path in files(folder):
        for number, data in enumerate(_content(path).split(b"\n"), 1):
            if not data.strip():
                continue
            try:
                line = _parsed(data)
            except (ValueError, RecursionError):
                damaged.append(f"{path.name}, line {number}")
                continue
            lines.pop((line.who, line.galaxy), None)
            lines[line.who, line.galaxy] = line
    return Answers(lines, tuple(damaged))


def files(folder: Path) -> list[Path]:
    """The files with answers."""
    return sorted(path for path in folder.glob("*.jsonl") if path.is_file() and not path.name.startswith("."))


def by_galaxy(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Galaxy -> its lines."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.galaxy, []).append(line)
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror}): it holds labels that people gave") from None


def _parsed(data: bytes) -> Line:
    """The line; ValueError where it is none."""
    content = sealed_json.unsealed(data)
    if any(not isinstance(content.get(key), kind) for key, kind in KINDS.items()):
        raise ValueError("no answer")
    if content["state"] not in get_args(State) or not all(isinstance(a, str) for a in content["answers"].values()):
        raise ValueError("no answer")
    return Line(**{key: content[key] for key in KINDS}, model=content.get("model"))
