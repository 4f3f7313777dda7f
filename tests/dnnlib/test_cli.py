"""Exit statuses and one-line errors of every script."""

import os
import signal
import subprocess
import sys
import time
import warnings

import pytest

from dnnlib import cli
from dnnlib.errors import UserError
from tests.runs import ENV, ROOT


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """cli.run changes what warnings and SIGTERM do."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def ended(main):
    """The exit status of a program."""
    with pytest.raises(SystemExit) as e:
        cli.run(main)
    return e.value.code


def test_the_status_is_what_main_returns():
    assert ended(lambda: None) == 0
    assert ended(lambda: 3) == 3


def test_user_errors_are_one_line_and_status_2(capsys):
    def main():
        raise UserError("x.png: found\nnothing")

    assert ended(main) == 2
    assert capsys.readouterr().err == "error: x.png: found\\nnothing\n"


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: 1 // 0)


def test_warnings_are_one_line(capsys):
    def main():
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning("two\nlines", UserWarning, "x.py", 1)

    assert ended(main) == 0
    assert capsys.readouterr().err == "warning: two\\nlines\n"


def test_ctrl_c_and_sigterm_end_blocks_on_their_way_out(capsys):
    left = []

    def main(number):
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            left.append(number)

    assert ended(lambda: main(signal.SIGINT)) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert ended(lambda: main(signal.SIGTERM)) == 143
    assert left == [signal.SIGINT, signal.SIGTERM]


def test_a_reader_that_is_gone_is_no_error():
    command = [sys.executable, "-m", "tests.dnnlib.print_much"]
    with subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def resize(*, size: int, kind: str = "box") -> int:
    """Change the size.

    Args:
        size: Pixels.
        kind: Filter.
    """
    calls.append((size, kind))
    return 4


def fail() -> None:
    """End with the status that parsers use for wrong options."""
    sys.exit(2)


COMMANDS = {"resize": resize, "fail": fail}
calls: list[tuple[int, str]] = []


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["tool.py", *args])
    return cli.run_command(COMMANDS, "A tool.")


def test_commands_get_the_options_of_their_signature(monkeypatch):
    calls.clear()
    assert run(monkeypatch, "resize", "--size", "64", "--kind", "lanczos") == 4
    assert run(monkeypatch, "resize", "--size", "8") == 4
    assert calls == [(64, "lanczos"), (8, "box")]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["resize", "--size", "x"], "--size"),
        (["resize"], "--size"),
        (["resize", "--size", "3", "--sise", "4"], "--sise"),
        (["enlarge"], "enlarge"),
        ([], "resize"),
    ],
)
def test_wrong_options_are_one_line(monkeypatch, args, message):
    calls.clear()
    with pytest.raises(UserError) as e:
        run(monkeypatch, *args)
    assert message in str(e.value) and "\\n" not in str(e.value) and not set("│╭╯─") & set(str(e.value))
    assert not calls


def test_help_explains_commands_and_options(monkeypatch, capsys):
    for args, texts in (
        (["--help"], ["A tool.", "resize", "Change the size."]),
        (["resize", "--help"], ["--size INT", "Pixels.", "Filter. (default: box)"]),
    ):
        with pytest.raises(SystemExit) as e:
            run(monkeypatch, *args)
        assert not e.value.code
        out = capsys.readouterr().out
        assert all(text in out for text in texts), out


def test_a_command_that_exits_is_not_taken_for_wrong_options(monkeypatch):
    with pytest.raises(SystemExit) as e:
        run(monkeypatch, "fail")
    assert e.value.code == 2
