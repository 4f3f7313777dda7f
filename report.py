"""A page about training runs: curves, sheets of samples, time-lapse, options; `python report.py --help`."""

from dnnlib import cli


def main() -> None:
    """Parse the command line and write the page."""
    # What takes seconds to import is imported where Ctrl-C is expected.
    from sharing.report import command

    command.main()


if __name__ == "__main__":
    cli.run(main)
