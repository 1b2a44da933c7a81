"""Exceptions that are reported in one sentence, without a traceback."""


class UserError(Exception):
    """An error that the user can fix: the message says what was expected, what was received and how to fix it."""


class Damaged(UserError):
    """A file of the output does not match its record, or is missing."""


class TrainingFailed(UserError):
    """A fold cannot be trained as specified; others may."""


class Defect(Exception):
    """A bug that the program detects itself: reported in one sentence, with exit code 1."""


class DamagedImage(Exception):
    """One image cannot be used; the message continues after its name: 'is cut short'."""
