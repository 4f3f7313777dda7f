import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlib.errors import UserError
from training.data import labels


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    ),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_json_gives_labels_or_an_error(value, wrapped):
    text = json.dumps({"labels": value} if wrapped else value).encode()
    try:
        table = labels.labels_from_json(text, ["a", "b"], "dataset.json")
        assert table is None or np.isfinite(table[:]).all()
    except UserError as e:
        assert "dataset.json" in str(e)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_bytes_give_labels_or_an_error(data):
    with pytest.raises(UserError):
        labels.labels_from_json(data, ["a"], "dataset.json")


def test_a_label_file_that_promises_too_much_allocates_nothing(tmp_path):
    with open(tmp_path / "a.labels", "wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": (5, 10**12)})
    with pytest.raises(UserError, match="not a readable array"):
        labels.read_labels(tmp_path / "a.labels", 5)
    np.savez(tmp_path / "b.labels.npz", np.zeros((5, 2)))
    with pytest.raises(UserError, match="not a readable array"):
        labels.read_labels(tmp_path / "b.labels.npz", 5)


@pytest.mark.parametrize("shape", [(7, 3), (2500, 700)])
def test_label_files_hold_what_was_written(shape, tmp_path):
    """Tables of either type, also one that is written in several parts."""
    numbers = np.arange(shape[0]) % shape[1]
    for table in (labels.OneHot(numbers, shape[1]), np.random.default_rng(0).normal(size=shape).astype(np.float32)):
        labels.write_labels(tmp_path / "a.labels", table)
        np.testing.assert_array_equal(labels.read_labels(tmp_path / "a.labels", shape[0]), np.asarray(table))


def test_label_files_that_do_not_fit(tmp_path):
    def saved(array):
        with open(tmp_path / "a.labels", "wb") as f:
            np.save(f, array)
        return tmp_path / "a.labels"

    np.testing.assert_array_equal(labels.read_labels(saved(np.eye(3, dtype=np.int64)), 3), np.eye(3, dtype=np.float32))
    for array, message in (
        (np.zeros((4, 2)), r"labels float64 \[4, 2\], expected float32 \[5, classes\]"),
        (np.zeros(5), r"labels float64 \[5\], expected"),
        (np.zeros((5, 2), complex), "labels complex128"),
        (np.array([[0], [0], [0], [np.inf], [0]]), "label 3 is not finite"),
    ):
        with pytest.raises(UserError, match=message):
            labels.read_labels(saved(array), 5)


def test_a_one_hot_table_is_like_its_array():
    table = labels.OneHot(np.array([2, 0, 1]), 4)
    array = np.eye(4, dtype=np.float32)[[2, 0, 1]]
    assert table.shape == array.shape and len(table) == 3
    for index in (1, slice(1, 3), np.array([2, 2, 0]), -1):
        np.testing.assert_array_equal(table[index], array[index])
    assert labels.label_bytes(table) == labels.label_bytes(array) != labels.label_bytes(array[::-1])
    assert [labels.label_of(table, i) for i in range(3)] == [labels.label_of(array, i) for i in range(3)] == [2, 0, 1]


def test_a_row_is_a_class_only_if_it_is_one_hot():
    rows = np.array([[0, 1, 0], [0, 2, 0], [1, 1, 0], [0, 0, 0]], np.float32)
    assert [labels.label_of(rows, i) for i in range(4)] == [1, (0, 2, 0), (1, 1, 0), (0, 0, 0)]
    assert labels.label_of(labels.no_labels(2), 1) is None


def collected(values, classes=0):
    collector = labels.LabelCollector(classes)
    for i, value in enumerate(values):
        collector.add(value, f"image {i}")
    return collector.table()


@pytest.mark.parametrize(
    ("values", "classes", "expected"),
    [
        ([], 3, np.zeros((0, 0))),
        ([None, None], 3, np.zeros((2, 0))),
        ([1, 0, 2], 0, np.eye(3)[[1, 0, 2]]),
        ([1, 0, 1], 4, np.eye(4)[[1, 0, 1]]),
        ([(0.5, 1.0), (-1.0, 0.0)], 0, [[0.5, 1], [-1, 0]]),
        ([(0.5, 1.0, 0.0), 2, 0], 0, [[0.5, 1, 0], [0, 0, 1], [1, 0, 0]]),
    ],
)
def test_labels_that_come_one_by_one_make_a_table(values, classes, expected):
    np.testing.assert_array_equal(np.asarray(collected(values, classes)), np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        ([None, 3], 0, "image 1: a label, unlike the images before it"),
        ([3, None], 0, "image 1: no label, unlike the images before it"),
        ([0, 65536], 0, "image 1: class 65536, expected 0 to 65535"),
        ([-1], 0, "image 0: class -1, expected 0 to 65535"),
        ([()], 0, "image 0: label [], expected some finite numbers"),
        ([(1.5, 2.0), (1.5,)], 0, "image 1: label [1.5], expected 2 finite numbers"),
        ([(1.5, float("nan"))], 0, "image 0: label [1.5, nan], expected some finite numbers"),
        ([(1e39,)], 0, "image 0: label [1e+39], expected some finite numbers"),
        ([(0.5, 0.5), 2], 0, "image 1: class numbers up to 2 and vectors of 2 mixed"),
        ([(0.5, 0.5)], 3, "image 0: class numbers up to 2 and vectors of 2 mixed"),
    ],
)
def test_labels_that_do_not_go_together(values, classes, message):
    with pytest.raises(UserError) as e:
        collected(values, classes)
    assert str(e.value) == message


def test_labels_in_json():
    """Class numbers where they tell the number of classes too, otherwise lists."""
    assert list(labels.json_labels(labels.OneHot(np.array([1, 0]), 2))) == [1, 0]
    assert list(labels.json_labels(labels.OneHot(np.array([1, 0]), 3))) == [[0, 1, 0], [1, 0, 0]]
    vectors = list(labels.json_labels(np.array([[0.5, 2], [-3, 0]], np.float32)))
    assert json.dumps(vectors) == "[[0.5, 2], [-3, 0]]"
    for table in (labels.OneHot(np.array([1, 0]), 2), np.array([[0.5, 2], [-3, 0]], np.float32)):
        text = json.dumps({"labels": list(zip("ab", labels.json_labels(table), strict=True))})
        np.testing.assert_array_equal(labels.labels_from_json(text.encode(), ["a", "b"], "x"), np.asarray(table))


@pytest.mark.parametrize("written", ["[0, 2]", "[0.0, 2.0]", '["0", "2"]', '[0, "2"]', "[false, 2]"])
def test_class_numbers_in_every_spelling(written):
    values = json.loads(written)
    text = json.dumps({"labels": [["a", values[0]], ["b", values[1]]]})
    for data in (text.encode(), text.encode("utf-8-sig")):  # with a byte-order mark, as programs of Windows write it
        np.testing.assert_array_equal(labels.labels_from_json(data, ["a", "b"], "x")[:], np.eye(3)[[0, 2]])


def test_names_with_backslashes():
    text = json.dumps({"labels": [["a\\b.png", 1]]})
    for name in ("a/b.png", "a\\b.png"):  # in a folder, and as the name of a file
        assert labels.labels_from_json(text.encode(), [name], "x").shape == (1, 2)


@pytest.mark.parametrize("wrong", [[1], 0.5, "cat", None, [1, 2, 3], [], {"a": 1}, -1, 70000])
@pytest.mark.parametrize("position", [0, 2])
def test_the_label_that_is_wrong_is_named(wrong, position):
    """Also if it is the first one."""
    values = [[1.0, 2.0]] * 4 if isinstance(wrong, list) else [0, 1, 2, 3]
    values[position] = wrong
    text = json.dumps({"labels": [[f"{i}.png", value] for i, value in enumerate(values)]})
    with pytest.raises(UserError, match=rf"label of {position}\.png"):
        labels.labels_from_json(text.encode(), [f"{i}.png" for i in range(4)], "x")
