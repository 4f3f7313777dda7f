import pytest

from dnnlib.errors import LONGEST, UserError, printable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain, with umlauts: ä", "plain, with umlauts: ä"),
        ("two\nlines\r\nand a\ttab", r"two\nlines\r\nand a\ttab"),
        ("\x1b[2J\x7f\x9b", r"\x1b[2J\x7f\x9b"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        (b"name-\xff".decode("utf-8", "surrogateescape"), r"name-\udcff"),
    ],
)
def test_every_text_is_one_line_without_control_characters(text, line):
    assert printable(text) == str(UserError(text)) == line
    assert line.isprintable() and line.encode()


def test_long_texts_are_cut():
    assert printable("x" * LONGEST) == "x" * LONGEST
    assert printable("x" * 10**7) == "x" * LONGEST + " ..."
    assert len(printable("\x1b" * 10**7)) == LONGEST + 4
