"""A dataset and a run for the tests of metrics."""

import numpy as np
import pytest

from tests.datasets import write_dataset
from tests.runs import SMALL, make_dataset, run_dirs, train
from training.data.dataset import open_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8)
    images = np.repeat(np.repeat(small, 4, 2), 4, 3)
    images[:, :, :, 0] //= 2  # left and right differ
    path = tmp_path_factory.mktemp("metrics") / "set"
    return open_dataset(write_dataset(path, images, np.eye(3)[np.arange(40) % 3]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with four snapshots, two of which were scored as it went: its folder, its run dir, what it printed."""
    base = tmp_path_factory.mktemp("run")
    args = [*SMALL, "--data", make_dataset(base / "set"), "--total-kimg", 0.256, "--network-snapshot-ticks", 1]
    scored = ["--metrics", "swd16,stability4,consistency4", "--metric-every", 2]
    out = train(*args, *scored, "--result-dir", base / "results")
    (path,) = run_dirs(base / "results")
    return base, path, out.stdout
