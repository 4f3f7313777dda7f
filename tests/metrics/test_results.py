"""Results as rows, as lines, and under which name they are kept."""

import json
from dataclasses import replace

import pytest

from metrics.results import Result, kimg_of, series, title
from tests.metrics.keep_results import result

FID = Result(
    metric="fid50k", version=1, snapshot="network-snapshot-000128.safetensors", kimg=128.0, value=20.0,
    values={"fid": 20.0, "fid_bias": 0.5}, facts={"seed": 3, "previous": "x", "bias_is": "estimated"}, seconds=75.0,
)  # fmt: skip


def test_rows_are_read_as_they_were_written():
    row = json.loads(json.dumps(FID.to_row()))
    assert Result.from_row(row) == FID
    assert row["results"] == {"fid": 20.0, "fid_bias": 0.5} and row["seed"] == 3  # facts are keys of their own
    with pytest.raises(KeyError):
        Result.from_row({"metric": "x"})


def test_conditions_are_all_but_the_snapshots():
    assert FID.conditions() == {"metric": "fid50k", "version": 1, "seed": 3, "bias_is": "estimated"}


def test_lines_tell_values_notable_bias_and_conditions():
    first = "network-snapshot-000128.safetensors  fid50k: fid 20  fid_bias 0.5  (1m 15s)"
    assert FID.lines(False) == [first]
    biased = replace(FID, values={"fid": 20.0, "fid_bias": 1.5})
    assert biased.lines(False)[1] == "  of this, about 1.5 is due to the small number of images alone"
    bound = replace(FID, facts={"bias_is": "a lower bound"})
    assert bound.lines(False)[1] == "  of this, at least 0.5 is due to the small number of images alone"
    assert FID.lines(True) == [first, "  version 1, seed 3, bias_is estimated"]
    assert replace(FID, snapshot="").lines(False)[0].startswith("fid50k: fid 20")


def test_figures_of_other_weights_and_of_one_class_have_names_of_their_own():
    assert title("fid5k", {"weights": "published"}) == title("fid5k", {"weights": "published, hash unknown"}) == "fid5k"
    assert title("fid5k", {"weights": "random"}) == "fid5k-of-random-weights"
    assert title("fid5k", {"weights": "not the published ones", "class": 2}) == "fid5k-class2-of-other-weights"
    assert title("swd", {"class": 0}) == "swd-class0"


def test_kimg_of_the_name_of_a_file():
    assert kimg_of("network-snapshot-000128.safetensors") == 128
    assert kimg_of("network-snapshot-000000.064.safetensors") == 0.064
    assert kimg_of("network-final.pkl") is None and kimg_of("") is None


def test_a_series_is_measured_in_one_way_and_covers_most_snapshots():
    a = [result("swd", f"a-{k}", k, 1.0, {"seed": 0}) for k in (1, 2, 3)]
    b = [result("swd", f"b-{k}", k, 1.0, {"seed": 1}) for k in (4, 5)]
    unknown = [result("swd", "final", None, 1.0, {"seed": 1})] * 4
    assert series([*b, *a, *unknown]) == a
    assert series([*b, *a[:2]]) == b and series(unknown) == []
