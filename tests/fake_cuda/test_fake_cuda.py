"""Training steps on CUDA tensors without values: right devices, and budgets for what a GPU would have to do."""

import json
import subprocess
import sys

import pytest
import torch

from tests.fake_cuda import shim
from tests.runs import ENV, ROOT
from training.losses import LOSSES

# Kernels of one micro-batch, and bytes that they move for one image, at 256x256 with bf16, about a tenth above what
# they are: a step that suddenly takes more does work that should not be there.
BUDGETS = {
    ("flowers256", "D with penalties"): (1600, 3.3),
    ("flowers256", "D"): (1220, 2.35),
    ("flowers256", "G"): (1050, 1.7),
    ("progan-flowers256", "D with penalties"): (1210, 2.5),
    ("progan-flowers256", "D"): (850, 1.7),
    ("progan-flowers256", "G"): (770, 1.75),
}


# The only tensors that an optimizer step may copy between host and GPU: its images and labels.
COPIES = {"_to_copy update.py:_to_device"}


@pytest.fixture(scope="module")
def lines():
    """Return what a process prints that has been made to believe in a GPU."""
    if shim.compiler() is None:
        pytest.skip("no C++ compiler, which these tests need for their shim")
    if torch.backends.cuda.is_built():
        pytest.skip("the shim takes the place of CUDA, which this PyTorch has")
    pytest.importorskip("triton", reason="no Triton, whose kernels the budgets count on")
    command = [sys.executable, "-m", "tests.fake_cuda"]
    done = subprocess.run(command, cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def traces(lines):
    """Return what each step does."""
    return [line for line in lines if "case" in line]


def test_every_step_runs_on_the_gpu_alone(traces):
    assert {t["case"] for t in traces} >= {*LOSSES, "cat_lin", "lin_cat", "simple", "fp32", "published with R1"}
    assert not [(t["network"], t["case"], t["step"], t["error"]) for t in traces if t["error"]]


def test_no_convolution_has_a_large_filter_or_runs_map_by_map(traces):
    assert {t["largest filter"] for t in traces} <= {3, 4}
    assert not [t for t in traces if t["grouped convolutions"]]


def test_large_maps_are_channels_last(traces):
    assert not {name for t in traces for name in t["NCHW maps"]}


@pytest.mark.parametrize(("network", "step"), BUDGETS)
def test_steps_stay_within_their_budgets(traces, network, step):
    [seen] = [t for t in traces if (t["network"], t["case"], t["step"]) == (network, "published with R1", step)]
    kernels, gigabytes = BUDGETS[network, step]
    assert 0.5 * kernels < seen["kernels"] <= kernels
    assert 0.5 * gigabytes < seen["GB per image"] <= gigabytes


def test_only_images_and_labels_are_copied_and_nothing_is_waited_for(lines):
    steps = [line["copies"] for line in lines if "copies" in line]
    assert len(steps) == 5
    for copies in steps:
        assert copies["D"] == dict.fromkeys(COPIES, 2)
        assert copies["average"] == {}
        assert copies["G"] in ({}, dict.fromkeys(COPIES, 2))  # the labels of two micro-batches
