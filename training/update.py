"""One optimizer step of D or G: micro-batches, gradients over all processes, update."""

import contextlib
from collections.abc import Callable

import numpy as np
import torch

from dnnlib import distributed
from training import pyramid
from training.config import Precision
from training.latents import generator_inputs, random_labels
from training.optimizer import Adam
from training.state import TrainState
from training.step import StepResult, d_step, g_step


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """`auto` to what this hardware does fast: bf16 with tensor cores of compute capability 8 or AVX-512/AMX bf16."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    cpu = torch.cpu.get_capabilities()
    return "bf16" if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else "fp32"


def autocast(precision: Precision, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """The context that the networks run in: bf16 convolutions, or nothing."""
    if resolve_precision(precision, device) == "fp32":
        return contextlib.nullcontext()
    # Without the weight cache: it would keep casts made inside torch.func transforms.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


class Updater:
    """Applies D and G steps to a TrainState; `labels` [M,c_dim] is the table that G's labels are drawn from."""

    def __init__(self, state: TrainState, labels: np.ndarray) -> None:
        self.state, self.cfg, self.labels = state, state.cfg, labels
        self.device = state.ema_flat.device
        self.run_d: Callable[..., StepResult] = d_step
        self.run_g: Callable[..., StepResult] = g_step
        if self.cfg.compile:
            self.run_d = torch.compile(d_step, dynamic=False)
            self.run_g = torch.compile(g_step, dynamic=False)

    def _keys(self, purpose: str) -> list[tuple[int | str, ...]]:
        """What the random inputs of each micro-batch of this process depend on."""
        cfg = self.cfg
        first = distributed.rank() * cfg.micro_batches
        return [(cfg.seed, purpose, self.state.cur_nimg, first + j) for j in range(cfg.micro_batches)]

    def _finish(self, opt: Adam, lr: float) -> None:
        """Gradients and w means of all processes together, update, move w_avg."""
        opt.all_reduce()
        opt.step(lr)
        self.state.G.mapping.w_avg.lerp_(opt.extra, 1 - self.cfg.G.w_avg_beta)

    def _accumulate(self, opt: Adam, result: StepResult) -> None:
        """Add a micro-batch's share of the gradients, of the mean of w, and of the statistics."""
        share = 1 / (self.cfg.micro_batches * distributed.world_size())
        (result.loss * share).backward()  # type: ignore[no-untyped-call]
        opt.extra.add_(result.w_mean, alpha=share)
        self.state.averages.add(result.stats)

    def d_update(self, images: np.ndarray, labels: np.ndarray, lr: float) -> None:
        """images uint8 [batch/gpus,C,H,W], labels float32 [batch/gpus,c_dim] of this process."""
        cfg, state = self.cfg, self.state
        interval = cfg.loss.reg_interval
        reg_weight = float(interval) if state.cur_nimg // cfg.batch % interval == 0 else 0.0
        state.D_opt.zero_grad()
        x = torch.from_numpy(images).split(cfg.images_per_pass)
        c = torch.from_numpy(labels).split(cfg.images_per_pass)
        for j, key in enumerate(self._keys("D")):
            reals = pyramid.from_uint8(x[j].to(self.device, non_blocking=True))
            cj = c[j].to(self.device, non_blocking=True)
            inputs = generator_inputs(state.G, cj, key, cfg.loss.style_mixing_prob)
            with autocast(cfg.precision, self.device):
                result = self.run_d(state.G, state.D, cfg.loss, reals, cj, inputs, reg_weight)
            self._accumulate(state.D_opt, result)
        self._finish(state.D_opt, lr)

    def g_update(self, lr: float) -> None:
        """One step of G; its labels are drawn from the dataset's."""
        cfg, state = self.cfg, self.state
        state.G_opt.zero_grad()
        state.D.requires_grad_(False)
        for key in self._keys("G"):
            c = torch.from_numpy(random_labels(self.labels, cfg.images_per_pass, key)).to(self.device)
            inputs = generator_inputs(state.G, c, key, cfg.loss.style_mixing_prob)
            with autocast(cfg.precision, self.device):
                result = self.run_g(state.G, state.D, cfg.loss, inputs)
            self._accumulate(state.G_opt, result)
        state.D.requires_grad_(True)
        self._finish(state.G_opt, lr)
