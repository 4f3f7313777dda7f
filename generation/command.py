"""The commands of generate.py."""

from collections.abc import Callable

from dnnlib import cli
from generation.images import images, multiscale
from generation.mixing import mix
from generation.timelapse import timelapse
from generation.videos import interpolate

COMMANDS: dict[str, Callable[..., None]] = {
    "images": images,
    "multiscale": multiscale,
    "interpolate": interpolate,
    "mix": mix,
    "timelapse": timelapse,
}


def main() -> None:
    """Parse the command line and run the command."""
    cli.run_command(COMMANDS, "Generate images, sheets and films from a network.")
