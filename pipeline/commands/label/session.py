"""One sitting of any number of people at the page: what each is shown, and what is written of their answers."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from pipeline.commands.label.advice import Advice
from pipeline.commands.label.queue import Queue, in_hand, last_done
from pipeline.core import answering, tree
from pipeline.core.labels import Question, Schema
from pipeline.errors import DamagedImage, UserError
from pipeline.store import answers as files
from pipeline.store.answers import Line

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
Picture = Callable[[str], str]  # galaxy -> data: address; DamagedImage where there is none


class Session:
    """Threads may call it; they wait for each other. Other processes may write to the same folder meanwhile."""

    def __init__(
        self, folder: Path, schema: Schema, digest: str, galaxies: list[str], advice: Advice, picture: Picture,
        wanted: int = 1,
    ):  # fmt: skip
        """`folder` of the answers; `digest` of the schema; `galaxies` without a label in the table."""
        self.schema, self._folder, self._digest, self._advice, self._picture = schema, folder, digest, advice, picture
        self._lock, self._stamp = Lock(), None
        self._refresh()
        self._queue = Queue(galaxies, advice.chosen, self._answers, wanted)

    def state(self, who: str) -> dict[str, Any]:
        """What a person is shown; UserError for a name that is none."""
        with self._lock:
            return self._state(_checked(who))

    def put(self, who: str, galaxy: str, given: Mapping[str, str], *, skipped: bool = False) -> dict[str, Any]:
        """Keep all that a person has answered of a galaxy by now, and say what they are shown next.

        The same twice is kept once. UserError for what cannot be an answer.
        """
        with self._lock:
            self._refresh()
            line = self._line(_checked(who), galaxy, dict(given), skipped)
            if not line.same(self._answers.lines.get((line.who, galaxy))):
                files.append(self._folder, line)
            return self._state(who)

    def _line(self, who: str, galaxy: str, given: dict[str, str], skipped: bool) -> Line:
        if galaxy not in self._queue:
            raise UserError(f"galaxy {galaxy!r} is not among those to be labelled, or no longer")
        if not answering.is_way(self.schema, given) or (skipped and given):
            raise UserError(f"{given} is no way down the questions of {self.schema.name}: load the page anew")
        done = answering.next_question(self.schema, given) is None
        state = "skipped" if skipped else "complete" if done else "begun"
        chosen, now = self._queue.chosen_as(galaxy), datetime.now(UTC).isoformat(timespec="milliseconds")
        return Line(galaxy, who, now, given, state, chosen, self._digest, self._advice.model)

    def _refresh(self) -> None:
        """Read the answers, where a file has changed."""
        stamp = [(path.name, (found := path.stat()).st_size, found.st_mtime_ns) for path in files.files(self._folder)]
        if stamp != self._stamp:
            self._answers, self._stamp = files.read(self._folder), stamp

    def _state(self, who: str) -> dict[str, Any]:
        self._refresh()
        last = last_done(who, self._answers)
        before = last and self._before(last.galaxy, last.answers)
        made = {"progress": self._progress(who), "last": last and self._told(last), "before": before}
        while (galaxy := self._queue.next(who, self._answers)) is not None:
            try:
                picture = self._picture(galaxy)
            except (DamagedImage, OSError, KeyError):
                self._queue.leave_out(galaxy)
                continue
            begun = in_hand(who, self._answers)
            given = begun.answers if begun and begun.galaxy == galaxy else {}
            if not answering.is_way(self.schema, given):  # the schema has changed meanwhile
                given = {}
            made["before"] = self._before(galaxy, given) if given else before
            asked = answering.next_question(self.schema, given)
            return made | {"galaxy": galaxy, "picture": picture, "given": given, "question": _asked(asked)}
        return made | {"galaxy": None}

    def _before(self, galaxy: str, given: Mapping[str, str]) -> dict[str, Any]:
        """What is put to undo the answer that was given last."""
        return {"galaxy": galaxy, "given": answering.without_last(self.schema, given)}

    def _progress(self, who: str) -> dict[str, int]:
        lines, done = self._answers.lines.values(), {line.galaxy for line in self._answers.complete()}
        own = [line.state for line in lines if line.who == who]
        counts = {"yours": own.count("complete"), "skipped": own.count("skipped")}
        return counts | {"labelled": len(done), "galaxies": len(self._queue.order)}

    def _told(self, line: Line) -> dict[str, Any]:
        """What a person said of a galaxy, and what the model thinks of it."""
        thinks = self._advice.joint.get(line.galaxy)
        told = {"galaxy": line.galaxy, "skipped": line.state == "skipped", "given": line.answers}
        if line.state == "skipped" or not answering.is_way(self.schema, line.answers):
            return told | {"questions": []}
        conditional = None if thinks is None else tree.to_conditional(self.schema, thinks[None])[0]
        asked = [question for question in self.schema.questions if question.name in line.answers]
        return told | {"questions": [self._beside(q, line.answers[q.name], conditional) for q in asked]}

    def _beside(self, question: Question, answer: str, conditional: np.ndarray | None) -> dict[str, Any]:
        texts = dict(zip(question.answers, question.texts, strict=True))
        made = {"text": question.text, "answer": texts[answer]}
        if conditional is None:
            return made
        shares = [float(conditional[self.schema.index[column]]) for column in question.columns]
        best = int(np.argmax(shares))
        own = shares[question.answers.index(answer)]
        return made | {"model": question.texts[best], "share": shares[best], "share_of_yours": own}


def _asked(question: Question | None) -> dict[str, Any] | None:
    if question is None:  # all answers are there, of a schema that asked for more when they were begun
        return None
    answers = [{"name": n, "text": t} for n, t in zip(question.answers, question.texts, strict=True)]
    return {"name": question.name, "text": question.text, "answers": answers}


def _checked(who: str) -> str:
    if not NAME.fullmatch(who):
        raise UserError(f"{who!r} is no name here: up to 40 of the letters a to z, digits, - and _")
    return who
