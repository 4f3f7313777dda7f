"""The options of generate.py."""

import re
import sys

import pytest

from generation import command

SHARED = {
    "--help",
    "--network",
    "--snapshot",
    "--result-dir",
    "--trunc",
    "--cutoff",
    "--class",
    "--noise-mode",
    "--device",
}


OWN = {
    "images": "--seeds --outdir --level",
    "multiscale": "--seeds --output",
    "interpolate": "--seeds --walk --frames --fps --smoothing --grid --level --size --output --overwrite",
    "mix": "--rows --columns --layers --output --overwrite",
}
TIMELAPSE = set(["--help", "--result-dir", "--samples", "--level", "--fps", "--output", "--overwrite"])


@pytest.mark.parametrize("name", command.COMMANDS)
def test_options(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["generate.py", name, "--help"])
    with pytest.raises(SystemExit):
        command.main()
    found = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out))
    assert found == (SHARED | set(OWN[name].split()) if name in OWN else TIMELAPSE)
