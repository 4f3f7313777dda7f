"""A page about training runs: curves, sheets of samples, time-lapse, options; `python report.py --help`."""

from dnnlib import cli

if __name__ == "__main__":
    from sharing.report.command import main

    cli.run(main)
