"""A web page in which to play with a network: `python demo.py --help`."""

from dnnlib import cli


def main() -> None:
    """Parse the command line and serve the page."""
    # What takes seconds to import is imported where Ctrl-C is expected.
    from sharing.demo import command

    command.main()


if __name__ == "__main__":
    cli.run(main)
