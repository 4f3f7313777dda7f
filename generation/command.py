"""The commands of generate.py."""

from collections.abc import Callable

from dnnlib import cli
from generation.directions import directions
from generation.figures import figures
from generation.images import images, multiscale
from generation.mixing import mix
from generation.project import project_images
from generation.reals import reals
from generation.timelapse import timelapse
from generation.videos import interpolate

COMMANDS: dict[str, Callable[..., None]] = {
    "images": images,
    "multiscale": multiscale,
    "interpolate": interpolate,
    "mix": mix,
    "figures": figures,
    "timelapse": timelapse,
    "reals": reals,
    "project": project_images,
    "directions": directions,
}


def main() -> None:
    """Parse the command line and run the command."""
    cli.run_command(COMMANDS, "Make images, films and figures from a network.")
