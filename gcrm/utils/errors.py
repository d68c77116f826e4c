"""The one exception that users see: a mistake they can mend, told in one line."""


class UserError(Exception):
    """Bad input. The message names the file, row or key, what is expected, and what to do.

    Every command turns it into a single line on standard error and exit status 1; any other
    exception is a defect of ours and keeps its traceback.
    """
