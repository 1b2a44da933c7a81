"""What goes wrong by the user's hand, told in one sentence."""


class UserError(Exception):
    """Something only the user can mend: the message says what was expected, what was received, what mends it."""


class Damaged(UserError):
    """A file of the output is not what was written, or is gone while its record stands."""


class TrainingFailed(UserError):
    """A fold cannot be trained as its run says; others can."""


class Defect(Exception):
    """Something that this program does wrong and found out itself: told in one sentence, with exit code 1."""


class DamagedImage(Exception):
    """One image cannot be used; the message goes on after its name: 'is cut short'."""
