"""Options of run_metrics.py that contradict each other or lie outside their range."""

from pathlib import Path

import pytest
import tyro

from dnnlib.errors import UserError
from metrics.options import Options
from metrics.settings import Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected one of --network, --run-id and --images"),
        ({"network": "x", "run_id": 3}, "expected one of --network, --run-id and --images"),
        ({"network": "x", "gpus": 0}, "--gpus 0: expected >= 1"),
        ({"images": Path("x"), "settings": Settings(class_idx=0)}, "expected a network, not --images"),
        ({"images": Path("x"), "settings": Settings(per_class=True)}, "expected a network, not --images"),
    ],
)
def test_options_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)


def test_an_unknown_metric_is_an_error_of_the_options():
    with pytest.raises(UserError, match="fidx: unknown metric, expected some of fid50k"):
        Options(network="x", settings=Settings(metrics="swd,fidx"))


def test_all_options_are_given_without_a_prefix():
    args = ["--network", "x", "--class", "3", "--metrics", "fid5k", "--mirror", "--resize", "clean", "--out", "y"]
    options = tyro.cli(Options, args=args)
    assert (options.network, options.settings.class_idx, options.settings.metrics) == ("x", 3, "fid5k")
    assert options.settings.mirror and options.settings.detectors.resize == "clean"
    assert options.settings.out == Path("y") and options.settings.seed is None
