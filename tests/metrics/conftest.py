"""A dataset for the tests of metrics."""

import numpy as np
import pytest

from tests.datasets import write_dataset
from training.data.dataset import open_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8)
    images = np.repeat(np.repeat(small, 4, 2), 4, 3)
    images[:, :, :, 0] //= 2  # left and right differ
    path = tmp_path_factory.mktemp("metrics") / "set"
    return open_dataset(write_dataset(path, images, np.eye(3)[np.arange(40) % 3]))
