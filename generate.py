"""Images and sheets from a network: `python generate.py --help`."""

from dnnlib import cli
from generation import sampling

if __name__ == "__main__":
    cli.run(sampling.main)
