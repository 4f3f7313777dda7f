"""Prints more than a pipe holds, through `cli.run`."""

from dnnlib import cli


def main() -> None:
    for i in range(100_000):
        print(i)


if __name__ == "__main__":
    cli.run(main)
