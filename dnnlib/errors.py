"""The one error that users see as a line instead of a traceback."""


class UserError(Exception):
    """Wrong input or environment: the message names the file or option, the value found and what was expected."""
