import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: as many tests run at once as there are cores

import hypothesis
import pytest
import torch

# Without a GPU, Triton's interpreter runs the kernels. It has to know before Triton is imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Under `make test &` in a script SIGINT is ignored, and programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# HYPOTHESIS_PROFILE=default: other examples. No deadline, since the machine may be busy.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
