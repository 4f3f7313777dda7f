"""Tests that need a GPU: `make gpu` runs them. Without one they are not collected."""

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
