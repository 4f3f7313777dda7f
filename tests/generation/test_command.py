"""The options of generate.py."""

import re
import sys

import pytest

from generation import command

SHARED = {"--help", "--network", "--seeds", "--trunc", "--cutoff", "--class", "--noise-mode", "--device"}


@pytest.mark.parametrize(("name", "own"), [("images", {"--outdir", "--level"}), ("multiscale", {"--output"})])
def test_options(name, own, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["generate.py", name, "--help"])
    with pytest.raises(SystemExit):
        command.main()
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out)) == SHARED | own
