"""The exception for mistakes of the user."""


class UserError(Exception):
    """A mistake that the user can correct, described in one line.

    The message names the file, row or key, what is expected, and what to do. Every command prints
    it on standard error and exits with status 1; other exceptions are defects and keep their
    traceback.
    """
