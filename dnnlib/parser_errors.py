"""Errors of the parser of options, which it draws as boxes for a terminal, as one line each."""

import itertools
import re

_TYPES = {
    "INT": "a whole number",
    "FLOAT": "a number",
    "INT INT": "two whole numbers",
    "[INT [INT ...]]": "whole numbers",
}


def summary(box: str) -> str:
    """Return an error in one line: the option, what was found there and what is expected."""
    # Take what is inside the frame, which some terminals show in ASCII, without the advice at its end.
    lines = [re.sub(r"^[│|╭╰+]|[│|╮╯+]$|[─-]{3,}|─", " ", line).strip() for line in box.splitlines()]
    lines = list(itertools.takewhile(lambda line: not line.startswith("For full help"), filter(None, lines)))
    title, *lines = lines or ["wrong options"]
    text = re.sub(r"^Error parsing [\w.-]+: ", "", " ".join(lines) or title)

    # A value of the wrong type: the option and what it takes stand below the reason.
    if "Argument helptext:" in lines and (values := re.findall(r"\[.*?\]|'[^']*'", text)):
        name, _, expected = lines[lines.index("Argument helptext:") + 1].partition(" ")
        found = " ".join(re.findall("'([^']*)'", values[0]))
        expected = expected.removeprefix("{None}|")
        return f"{name} {found}: expected {_TYPES.get(expected, expected)}"

    # A value that is none of several.
    if choice := re.match(r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*)\)", text):
        found, name, choices = choice.groups()
        names = sorted(set(re.findall("'([^']*)'", choices)) - {"None"})
        return f"{name} {found}: expected one of {', '.join(names)}"

    # An option without its value, and arguments that are missing, each with its help.
    if option := re.match(r"Missing value for argument '(\S+)'", text):
        return f"{option[1]}: expected a value"
    if lines and lines[0].startswith("Missing from"):
        return f"missing argument: {' '.join(lines[1:]).replace(' (required)', '')}"

    # Options and commands that do not exist, with similar ones.
    if text.startswith("Unrecognized options: "):
        unknown, *_ = lines[0].removeprefix("Unrecognized options: ").split(" Available subcommands:")
        similar = " or ".join(dict.fromkeys(line.split()[0] for line in lines if line.startswith("--")))
        _, _, commands = text.partition("Available subcommands: ")
        advice = f", perhaps you meant {similar}" if similar else f", expected one of {commands}" if commands else ""
        return f"unknown argument {unknown.replace(',', '')}{advice}"

    return text
