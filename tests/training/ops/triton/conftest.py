"""These tests run the kernels on a GPU if there is one, and otherwise in Triton's interpreter."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="no Triton here; `make test` installs it on Linux")


def pytest_collection_modifyitems(items):
    """Let `make gpu` run them as well."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def _device():
    """Make tensors on the GPU, if there is one."""
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        yield
