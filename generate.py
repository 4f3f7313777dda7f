"""Images and sheets from a network: `python generate.py --help`."""

from dnnlib import cli
from generation import command

if __name__ == "__main__":
    cli.run(command.main)
