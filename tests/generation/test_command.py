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
    "--trunc-cutoff",
    "--class",
    "--noise-mode",
    "--channels",
    "--batch",
    "--device",
}


LATENTS = "--seeds --random-state --num-samples --latents --only-noise"
OWN = {
    "images": f"{LATENTS} --level --outdir --format --output --grid --overwrite",
    "multiscale": f"{LATENTS} --level --columns --own-size --output --outdir --format --overwrite",
    "interpolate": "--seeds --walk --directions --component --strength --frames --fps --smoothing --only-noise --grid "
    "--level --columns --size --output --overwrite",
    "mix": "--rows --columns --layers --level --output --overwrite",
    "figures": "--size --outdir --format --overwrite",
    "project": "--steps --space --search-noise --level --perceptual --detector-dir --film --outdir --overwrite",
    "directions": "--method --layers --components --seeds --strength --steps --level --size --frames --fps --output "
    "--save --overwrite",
}
WITHOUT_NETWORK = {
    "timelapse": "--help --result-dir --source --samples --level --stability --fps --device --output --overwrite",
    "reals": "--help --indices --level --channels --columns --own-size --augment --augment-parts --augment-p --seed "
    "--output --outdir --format --overwrite",
}


@pytest.mark.parametrize("name", command.COMMANDS)
def test_options(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["generate.py", name, "--help"])
    with pytest.raises(SystemExit):
        command.main()
    found = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out))
    assert found == (SHARED | set(OWN[name].split()) if name in OWN else set(WITHOUT_NETWORK[name].split()))
