"""What goes wrong by the user's hand, told in one sentence."""


class UserError(Exception):
    """Something only the user can mend: the message says what was expected, what was received, what mends it."""
