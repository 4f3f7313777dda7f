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
