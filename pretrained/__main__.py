"""python -m pretrained inspect|convert"""

from dnnlib import cli
from pretrained.command import main

if __name__ == "__main__":
    cli.run(main)
