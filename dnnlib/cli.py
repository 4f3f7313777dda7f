"""Running a command-line script: errors that users can mend become one line on stderr and exit status 2."""

import contextlib
import functools
import inspect
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar, get_args, get_type_hints

import tyro

from dnnlib.errors import UserError, printable
from dnnlib.parser_errors import summary

T = TypeVar("T")

# Types of the arguments of commands.
Place = tyro.conf.Positional[Path]
"""A file or folder that is given without an option's name."""
Places = tyro.conf.Positional[tuple[Path, ...]]
"""One or more files or folders that are given without an option's name."""
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""An option that is off unless its name is given."""


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit with its status: 0, or 2 for a UserError, 130 after Ctrl-C, 143 after SIGTERM."""
    # Warnings are one line; SIGTERM is an exception, so that half-written files are removed.
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {printable(str(message))}", file=sys.stderr)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    try:
        sys.exit(main() or 0)
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of `... | head` is gone. What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def one_line_errors(parse: Callable[[], T]) -> T:
    """Call a parser of options that prints boxes and exits; raise its errors as a UserError of one line."""
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return parse()
    except SystemExit as e:
        # Help is no error.
        if e.code != 2:
            raise

        raise UserError(summary(captured.getvalue())) from e


def run_command(
    commands: Mapping[str, Callable[..., int | None]], description: str | None, prog: str | None = None
) -> int | None:
    """Parse the command line as one of `commands`, call it, and return its exit status.

    Commands are functions whose signatures are their options.
    """

    def later(command: Callable[..., int | None]) -> Callable[..., Callable[[], int | None]]:
        """Return a function with the signature of `command` that returns the call instead of making it."""

        @functools.wraps(command)
        def call_later(*args: object, **options: object) -> Callable[[], int | None]:
            return functools.partial(command, *args, **options)

        # Show positional arguments by their names, in place of their types.
        hints = get_type_hints(command, include_extras=True)
        for name, kind in hints.items():
            if tyro.conf.Positional in get_args(kind):
                hints[name] = Annotated[kind, tyro.conf.arg(metavar=name.upper())]
        call_later.__annotations__ = hints
        call_later.__signature__ = inspect.signature(command)  # type: ignore[attr-defined]
        del call_later.__wrapped__  # type: ignore[attr-defined]
        return call_later

    # Parse first and call later, so that errors of the command itself are not taken for those of its options.
    parsers = {name: later(command) for name, command in commands.items()}
    chosen: Callable[[], int | None] = one_line_errors(
        lambda: tyro.extras.subcommand_cli_from_dict(parsers, prog=prog, description=description)
    )
    return chosen()
