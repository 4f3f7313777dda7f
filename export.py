"""Networks in formats that other programs open: `python export.py --help`."""

from dnnlib import cli


def main() -> None:
    """Parse the command line and run the command."""
    # What takes seconds to import is imported where Ctrl-C is expected.
    from sharing.export import command

    command.main()


if __name__ == "__main__":
    cli.run(main)
