"""Create datasets for training: `python dataset_tool.py --help`."""

from dnnlib import cli
from training.data import tool

if __name__ == "__main__":
    cli.run(tool.main)
