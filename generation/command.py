"""The commands of generate.py."""

from collections.abc import Callable

from dnnlib import cli
from generation.images import images, multiscale

COMMANDS: dict[str, Callable[..., None]] = {"images": images, "multiscale": multiscale}


def main() -> None:
    """Parse the command line and run the command."""
    cli.run_command(COMMANDS, "Generate images and sheets from a network.")
