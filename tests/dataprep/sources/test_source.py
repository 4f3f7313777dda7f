"""What all sources share: collections, labels, messages."""

import errno

import numpy as np
import pytest

from dataprep.sources.source import Entry, Items, Stream, as_label, reading, require
from dnnlib.errors import UserError
from training.data.labels import OneHot


def test_items_come_in_the_order_asked_for_with_their_labels():
    items = Items(3, "abc".__getitem__, labels=OneHot(np.array([1, 0, 1]), 4), class_names=["w", "x", "y", "z"])
    assert len(items) == 3 and items.classes == 4 and items.class_names == ["w", "x", "y", "z"]
    assert list(items.entries(np.array([2, 0]))) == [Entry("image 2", "c", 1), Entry("image 0", "a", 1)]
    plain = Items(2, str)
    assert plain.classes == 0 and [e.label for e in plain.entries(np.arange(2))] == [None, None]


def test_a_stream_gives_the_entries_that_are_wanted():
    class Letters(Stream):
        length = 5

        def stream(self):
            return (Entry(letter, letter) for letter in "abcde")

    assert len(Letters()) == 5
    assert [entry.name for entry in Letters().entries(np.array([1, 4]))] == ["b", "e"]


@pytest.mark.parametrize(
    ("value", "label"),
    [(0, 0), (7, 7), (True, 1), (0.5, (0.5,)), ([1, 0.5], (1.0, 0.5)), ([], ()), (-1, None), ("1", None), (None, None),
     ([1, "x"], None), ({"a": 1}, None)],
)  # fmt: skip
def test_labels_are_numbers(value, label):
    if label is None:
        with pytest.raises(UserError, match=r"^a\.json: label .*, expected a class number or a list of numbers"):
            as_label(value, "a.json")
    else:
        assert as_label(value, "a.json") == label and type(as_label(value, "a.json")) is type(label)


def test_requirements_are_reported():
    require([0], "not raised")
    with pytest.raises(UserError, match=r"^--n 0: expected >= 1$"):
        require([], "--n 0: expected >= 1")


def test_errors_of_readers_are_reported_with_their_file(tmp_path):
    path = tmp_path / "a.bin"
    cases = [
        (ValueError("line 1\nline 2"), "{path}: not a thing: ValueError('line 1\\nline 2')"),
        (OSError("Corrupt data"), "{path}: not a thing: OSError('Corrupt data')"),
        (OSError(errno.EIO, "Input/output error"), "{path}: cannot read: input/output error"),
        (OSError(errno.ENOENT, "No such file", "/x/part"), "/x/part: cannot read: no such file"),
        (UserError("said before"), "said before"),
    ]
    for error, message in cases:
        with pytest.raises(UserError) as e, reading(path, "not a thing"):
            raise error
        assert str(e.value) == message.format(path=path)
    with pytest.raises(KeyboardInterrupt), reading(path, "not a thing"):
        raise KeyboardInterrupt
