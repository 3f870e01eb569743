"""Errors that a person can mend."""


class UserError(Exception):
    """An error the user can mend; its text is one clear sentence, printed without a traceback."""
