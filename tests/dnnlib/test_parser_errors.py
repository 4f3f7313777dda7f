"""Wrong options: each error names the option, what was found and what is expected."""

import sys
from typing import Annotated, Literal

import pytest
import tyro

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.parser_errors import summary


def draw(
    image_dir: Annotated[str, tyro.conf.Positional],
    *,
    size: int = 8,
    zoom: float | None = None,
    taps: tuple[int, ...] = (),
    form: Literal["png", "jpg"] | None = None,
) -> None:
    """Draw.

    Args:
        image_dir: Folder of images.
        size: Pixels.
        zoom: Enlargement.
        taps: Filter.
        form: Container.
    """


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("draw here --size x", "--size x: expected a whole number"),
        ("draw here --zoom x", "--zoom x: expected a number"),
        ("draw here --taps 1 x", "--taps 1 x: expected whole numbers"),
        ("draw here --form bmp", "--form bmp: expected one of jpg, png"),
        ("draw here --size", "--size: expected a value"),
        ("draw --size 3", "missing argument: IMAGE_DIR Folder of images."),
        ("draw here --sise 3", "unknown argument --sise 3, perhaps you meant --size"),
        ("draw here there", "unknown argument there"),
        ("paint", "unknown argument paint, expected one of draw, rub"),
    ],
)
def test_errors_name_the_option_and_what_is_expected(monkeypatch, args, message):
    monkeypatch.setattr(sys, "argv", ["tool.py", *args.split()])
    with pytest.raises(UserError) as e:
        cli.run_command({"draw": draw, "rub": draw}, "A tool.")
    assert str(e.value) == message


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("", "wrong options"),
        ("╭──╮\n╰──╯", "wrong options"),
        ("╭─ Odd ─╮\n│ Argument helptext: │\n╰──╯", "Argument helptext:"),
        ("+- Odd --+\n| no frame | of lines |\n+--------+", "no frame | of lines"),
        ("something else", "something else"),
    ],
)
def test_what_is_not_known_is_passed_on(box, message):
    assert summary(box) == message
