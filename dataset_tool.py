"""Create datasets for training: `python dataset_tool.py --help`."""

from dataprep import command as tool
from dnnlib import cli

if __name__ == "__main__":
    cli.run(tool.main)
