"""Running a command-line script: errors that users can mend become one line on stderr and exit status 2."""

import os
import sys
from collections.abc import Callable

from dnnlib.errors import UserError


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit with its status: 0, or 2 for a UserError, or 130 after Ctrl-C."""
    try:
        sys.exit(main() or 0)
    except UserError as e:
        sys.exit(fail(str(e)))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `... | head`: the reader is gone, there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def fail(message: str) -> int:
    """Print one error line; returns the exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    return 2
