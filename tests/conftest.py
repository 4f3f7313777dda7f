import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: as many tests run at once as there are cores

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
