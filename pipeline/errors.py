"""Exceptions that are reported in one sentence, without a traceback; and what an error arose from."""

import difflib
from collections.abc import Iterable, Iterator

NEAR = 0.7  # the least similarity by which a name may have been meant; --input and --output have 0.67


class UserError(Exception):
    """An error that the user can fix: the message says what was expected, what was received and how to fix it."""


class Damaged(UserError):
    """A file of the output does not match its record, or is missing."""


class Elsewhere(UserError):
    """Another process is making, or has just made, what this one was about to make."""


class TrainingFailed(UserError):
    """A fold cannot be trained as specified; others may."""


class Defect(Exception):
    """A bug that the program detects itself: reported in one sentence, with exit code 1."""


class DamagedImage(Exception):
    """One image cannot be used; the message continues after its name: 'is cut short'."""


def meant(given: str, known: Iterable[str]) -> str:
    """'; did you mean vgg16?' for what is nearly one of the known names, else nothing."""
    near = difflib.get_close_matches(given, list(known), 1, NEAR)
    return f"; did you mean {near[0]}?" if near else ""


def arose_from(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those in whose handling it arose, the latest first.

    Libraries turn what stops them into errors of their own: imports into ImportError; fit on JAX into TypeError,
    for a step that does not end leaves the model without its weights.
    """
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__
