"""Running a command-line script: errors that users can mend become one line on stderr and exit status 2."""

import contextlib
import functools
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import tyro

from dnnlib.errors import UserError, printable

T = TypeVar("T")


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit with its status: 0, or 2 for a UserError, 130 after Ctrl-C, 143 after SIGTERM."""
    # Warnings are one line; SIGTERM is an exception, so that half-written files are removed.
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {printable(str(message))}", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

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
    """Print one error line, and return the exit status 2."""
    print(f"error: {message}", file=sys.stderr)
    return 2


def one_line_errors(parse: Callable[[], T]) -> T:
    """Call a parser of options that prints boxes and exits; raise its errors as a UserError of one line."""
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return parse()
    except SystemExit as e:
        if e.code != 2:
            raise

        # What is inside the box, without its frame and its advice.
        lines = [re.sub(r"[│╭╮╰╯─]+", " ", line).strip() for line in captured.getvalue().splitlines()]
        noise = ("For full helptext", "Perhaps you meant", "Missing from")
        lines = [line for line in lines if line and not line.startswith(noise)]
        title, *rest = lines or ["wrong options"]
        raise UserError(re.sub(r"^Error parsing [\w.-]+: ", "", " ".join(rest) or title)) from e


def run_command(
    commands: Mapping[str, Callable[..., int | None]], description: str | None, prog: str | None = None
) -> int | None:
    """Parse the command line as one of `commands`, call it, and return its exit status.

    Commands are functions whose signatures are their options.
    """

    def later(command: Callable[..., int | None]) -> Callable[..., Callable[[], int | None]]:
        @functools.wraps(command)
        def bound(*args: Any, **kwargs: Any) -> Callable[[], int | None]:
            return functools.partial(command, *args, **kwargs)

        return bound

    # Parse first and call later, so that errors of the command itself are not taken for those of its options.
    parsers = {name: later(command) for name, command in commands.items()}
    chosen: Callable[[], int | None] = one_line_errors(
        lambda: tyro.extras.subcommand_cli_from_dict(parsers, prog=prog, description=description)
    )
    return chosen()
