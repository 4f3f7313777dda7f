"""Which copies between the host and a GPU, and which waits for a GPU, optimizer steps would make."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import config
from tests.fake_cuda import fake_gpu
from training.ema import update_ema
from training.spec import ImageSpec
from training.state import TrainState
from training.update import Updater

TRAINING = str(Path(config.__file__).parent / "training")


class Copies(TorchDispatchMode):
    """Counts operations whose tensors lie on two devices, and values that the host asks for, by the function in which
    they happen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        try:
            out = func(*args, **(kwargs or {}))
        except DataDependentOutputException:
            self.seen[f"wait {_where()}"] += 1
            return 0.0

        # Single numbers of the host travel with a launch, unless they are copied by themselves.
        is_copy = name in ("_to_copy", "copy_")
        tensors = [t for t in tree_leaves((args, out)) if isinstance(t, torch.Tensor)]
        devices = {t.device.type for t in tensors if t.ndim or is_copy}
        if {"cpu", "cuda"} <= devices and name not in ("empty_like", "zeros_like", "ones_like"):
            self.seen[f"{name} {_where()}"] += 1
        return out


def _where() -> str:
    """Return the file and function of ours that is running."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(TRAINING):
            return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    """Replace what tensors without values cannot do."""
    with (
        mock.patch.object(nn.Module, "to", fake_gpu.to_gpu),
        mock.patch("training.update.autocast", lambda precision, device: fake_gpu.bf16_autocast()),
        mock.patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor),
    ):
        yield


def copies(preset: str, c_dim: int, augment: str, **loss: Any) -> dict[str, dict[str, int]]:
    """Return how often each copy happens in a step of D, of the moving average and of G."""
    cfg = config.PRESETS[preset]()
    cfg = replace(cfg, precision="bf16", batch=8, micro_batch=4, loss=replace(cfg.loss, **loss))
    cfg = replace(cfg, augment=replace(cfg.augment, name=augment, interval=1))
    spec = ImageSpec(resolution=16, c_dim=c_dim)
    table = np.eye(max(c_dim, 1), c_dim, dtype=np.float32)
    images = np.zeros((cfg.batch, 3, 16, 16), np.uint8)
    labels = table[np.zeros(cfg.batch, np.int64)]

    with FakeTensorMode(allow_non_fake_inputs=True), _as_on_a_gpu():
        state = TrainState(cfg, spec, fake_gpu.DEVICE)
        updater = Updater(state, table)
        steps = {
            "D": lambda: updater.d_update(images, labels, 0.003),
            "average": lambda: update_ema(state.ema_flat, state.G_opt.flat, state.G_ema, state.G, 0.99),
            "G": lambda: updater.g_update(0.003),
        }
        seen = {}
        for name, step in steps.items():
            with Copies() as counter:
                step()
            seen[name] = dict(counter.seen)
    return seen


def print_copies() -> None:
    """Print them as JSON, one line for each kind of training."""
    for preset, c_dim, augment, loss in (
        ("flowers256", 0, "none", {}),
        ("flowers256", 3, "none", {"style_mixing_prob": 1.0}),
        ("flowers256", 3, "ada", {"name": "wgan-gp"}),
        ("flowers256", 0, "diffaugment", {}),
        ("progan-flowers256", 0, "none", {}),
    ):
        seen = copies(preset, c_dim, augment, **loss)
        print(json.dumps({"preset": preset, "c_dim": c_dim, "augment": augment, "loss": loss, "copies": seen}))
