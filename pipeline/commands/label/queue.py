"""Which galaxy a person is shown next: the one in hand, else the first that still wants an answer of theirs."""

import time
from collections import Counter
from collections.abc import Iterator

from pipeline.core import acquisition
from pipeline.store.answers import Answers, Line

HELD = 600  # seconds for which a galaxy that one person is shown is not shown to another
RANDOM, BY_RULE, REST = "random", "rule", "rest"


class Queue:
    """Galaxies in the order in which they are shown.

    `chosen` are those of the rule, most instructive first; the others come by chance. Where nothing was chosen, all do.
    """

    def __init__(self, galaxies: list[str], chosen: list[str], answers: Answers, wanted: int):
        """`wanted` answers by different people of each galaxy."""
        ruled = bool(chosen) or any(line.chosen == BY_RULE for line in answers.lines.values())
        self._ruled, self._by_rule, self.wanted = ruled, frozenset(chosen), wanted
        others = [one for one in acquisition.by_chance(galaxies) if one not in self._by_rule]
        kept = [one for one in others if is_kept(one)] if ruled else others
        self.order = acquisition.interleaved(chosen, kept) + [one for one in others if ruled and not is_kept(one)]
        self._known = frozenset(galaxies)
        self._held: dict[str, tuple[str, float]] = {}

    def __contains__(self, galaxy: str) -> bool:
        return galaxy in self._known

    def chosen_as(self, galaxy: str) -> str:
        """How a galaxy came to be shown; a score on the "random" ones holds for all galaxies without a label."""
        if galaxy in self._by_rule:
            return BY_RULE
        return RANDOM if is_kept(galaxy) or not self._ruled else REST

    def next(self, who: str, answers: Answers) -> str | None:
        """The galaxy that a person is to be shown now; None where there is none left for them."""
        begun = in_hand(who, answers)
        shown = begun.galaxy if begun and begun.galaxy in self else next(self._open(who, answers), None)
        if shown is not None:
            self._held = {one: held for one, held in self._held.items() if held[0] != who}
            self._held[shown] = (who, time.monotonic())
        return shown

    def leave_out(self, galaxy: str) -> None:
        """Show a galaxy no more: its image cannot be."""
        self._known -= {galaxy}
        self.order.remove(galaxy)

    def _open(self, who: str, answers: Answers) -> Iterator[str]:
        """Galaxies that want an answer of this person; those that others are shown come last."""
        complete = Counter(line.galaxy for line in answers.lines.values() if line.state == "complete")
        started = {line.galaxy for line in answers.lines.values() if line.state == "begun" and line.answers}
        elsewhere = []
        for galaxy in self.order:
            if (who, galaxy) in answers.lines or complete[galaxy] >= self.wanted:
                continue
            if self.wanted == 1 and (galaxy in started or self._is_held(galaxy, who)):
                elsewhere.append(galaxy)
            else:
                yield galaxy
        yield from elsewhere

    def _is_held(self, galaxy: str, who: str) -> bool:
        holder, since = self._held.get(galaxy, (who, 0.0))
        return holder != who and time.monotonic() - since < HELD


def is_kept(galaxy: str) -> bool:
    """Whether a galaxy is kept from the rule, to be shown by chance."""
    return acquisition.chance(galaxy) < acquisition.BY_CHANCE


def in_hand(who: str, answers: Answers) -> Line | None:
    """What a person has begun last and not finished."""
    begun = (line for line in reversed(answers.lines.values()) if line.who == who and line.state == "begun")
    return next(begun, None)


def last_done(who: str, answers: Answers) -> Line | None:
    """What a person has answered in full, or skipped, last."""
    done = (line for line in reversed(answers.lines.values()) if line.who == who and line.state != "begun")
    return next(done, None)
