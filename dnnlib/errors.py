"""The one error that users see as a line instead of a traceback."""

import re

LONGEST = 1000  # characters of a message


class UserError(Exception):
    """Wrong input or environment: the message names the file or option, the value found and what was expected."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Return `text`, parts of which may come from a file, as one line of bounded length without control characters."""
    # The name of a file may hold bytes that are no text.
    text = text.encode("utf-8", "backslashreplace").decode()

    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda m: repr(m[0])[1:-1], text[: 2 * LONGEST])
    return line if len(line) <= LONGEST else line[:LONGEST] + " ..."
