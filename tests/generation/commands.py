"""Running generate.py."""

import contextlib
import io
import signal
import sys
import warnings
from subprocess import CompletedProcess
from unittest import mock

import pytest

from dnnlib import cli
from generation import command


def generate(*args, check=True):
    """Run generate.py within this process, which is much quicker than a new one."""
    args = ["generate.py", *map(str, args)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", args),
        mock.patch.object(signal, "signal"),
        mock.patch.object(warnings, "showwarning"),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as e,
    ):
        cli.run(command.main)
    assert not check or e.value.code == 0, err.getvalue()
    return CompletedProcess(args, e.value.code, out.getvalue(), err.getvalue())
