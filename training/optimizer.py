"""Adam on flat storage.

Each network has one buffer of parameters, one of gradients and one of each moment, so that the all-reduce, the check
for non-finite gradients, the update and the moving average are a few operations on whole networks.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from dnnlib import distributed
from training.step_config import AdamConfig

FIRST_LOG2_SCALE = 16.0  # of losses in fp16
SCALE_GROWTH = 0.0005  # of the logarithm of the scale at a step without overflow
ALIGNMENT = 64  # values; kernels load several at once, and cuBLAS and cuDNN need addresses of whole 16 bytes for that


def flatten_parameters(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    """Move parameters into one tensor [P], of which they become views, and return it.

    Each view begins at a multiple of ALIGNMENT. What lies between them is 0, and stays 0 in every update.
    """
    params = list(parameters)
    flat = params[0].new_zeros(sum(_aligned(p.numel()) for p in params)).detach()
    for p, view in zip(params, views(flat, params), strict=True):
        view.copy_(p.detach())
        p.data = view
    return flat


def views(flat: torch.Tensor, like: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Return the views of a flat tensor [P] that correspond to the parameters `like`, which it was made for."""
    tensors = list(like)
    parts = flat.split([_aligned(t.numel()) for t in tensors])
    return [part[: t.numel()].view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def _aligned(count: int) -> int:
    """Return a number of values rounded up to a multiple of ALIGNMENT."""
    return -(-count // ALIGNMENT) * ALIGNMENT


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1; `form` "tf": the variant of section 2 with eps-hat).

    `.grad` [P] receives the gradients of backward passes, and `.extra` [E] values that travel with them; `all_reduce`
    sums both over all processes, and `step` applies the gradients. A step with a non-finite gradient changes nothing
    but `skipped`, and the scale of losses if there is one.

    With `scales_loss`, losses are to be multiplied by `loss_scale` before the backward pass, so that gradients in fp16
    do not vanish. The scale grows slowly, and is halved when gradients overflow, as in msg-stylegan-tf (its optimizer's
    dynamic loss scaling), which starts at 2^64.
    """

    def __init__(self, module: nn.Module, cfg: AdamConfig, extra: int = 0, scales_loss: bool = False) -> None:
        self.cfg = cfg
        self.scales_loss = scales_loss

        # Parameters, gradients and what travels with them, each in one piece.
        self.params = list(module.parameters())
        self.flat = flatten_parameters(self.params)
        self.buffer = self.flat.new_zeros(len(self.flat) + extra)
        self.grad, self.extra = self.buffer[: len(self.flat)], self.buffer[len(self.flat) :]
        for p, view in zip(self.params, views(self.grad, self.params), strict=True):
            p.grad = view

        # Moments, and the numbers of steps taken and skipped.
        self.m = torch.zeros_like(self.flat)
        self.v = torch.zeros_like(self.flat)
        self.t = torch.zeros((), dtype=torch.float64, device=self.flat.device)
        self.skipped = torch.zeros((), dtype=torch.float64, device=self.flat.device)
        self.log2_scale = torch.full((), FIRST_LOG2_SCALE, dtype=torch.float64, device=self.flat.device)

    @property
    def loss_scale(self) -> torch.Tensor | float:
        """Return what losses are multiplied by, 1 without scaling."""
        return self.log2_scale.exp2().float() if self.scales_loss else 1.0

    def zero_grad(self) -> None:
        """Set gradients and extra values to 0."""
        self.buffer.zero_()

    def all_reduce(self) -> None:
        """Sum gradients and extra values over all processes, in one operation."""
        distributed.all_reduce_sum(self.buffer)

    @torch.no_grad()
    def step(self, lr: float, beta2: float | None = None) -> torch.Tensor:
        """Take one step from `.grad`, without waiting for the device; return whether it was skipped, bool [].

        beta2: that of this step, where it has a schedule. As in PyTorch, the bias correction of all steps takes it to
        have been the same from the start.
        """
        cfg = self.cfg
        beta2 = cfg.beta2 if beta2 is None else beta2

        # If any gradient is not finite, multiply everything by 0 instead of branching on the host.
        finite = self.grad.isfinite().all()
        ok = finite.to(self.grad.dtype)  # 1 or 0: times 0 the update changes nothing
        grad = torch.where(finite, self.grad, torch.zeros_like(self.grad))
        self.t += finite
        self.skipped += ~finite
        if self.scales_loss:
            grad.mul_(self.log2_scale.neg().exp2().float())
            self.log2_scale += torch.where(finite, SCALE_GROWTH, -1.0)

        # Moments.
        self.m.lerp_(grad, (1 - cfg.beta1) * ok)
        self.v.lerp_(grad.square_(), (1 - beta2) * ok)

        # Bias correction, with eps before or after that of the second moment.
        t = self.t.clamp(min=1)
        correction1 = 1 - cfg.beta1**t
        correction2 = (1 - beta2**t).sqrt()
        eps = cfg.eps if cfg.form == "tf" else cfg.eps * correction2

        update = self.m / (self.v.sqrt() + eps)
        self.flat.addcmul_(update, (-lr * ok * correction2 / correction1).to(update.dtype))
        return ~finite

    def state_dict(self) -> dict[str, Any]:
        """Return the moments, without what aligns them, and the counts; the weights belong to the network."""
        moments = {name: torch.cat([view.flatten() for view in views(x, self.params)]) for name, x in self._moments()}
        return {**moments, "t": self.t, "skipped": self.skipped, "log2_scale": self.log2_scale}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `state_dict` returned."""
        for name, flat in self._moments():
            packed = state[name].split([p.numel() for p in self.params])
            for view, values in zip(views(flat, self.params), packed, strict=True):
                view.copy_(values.view_as(view))
        self.t.copy_(state["t"])
        self.skipped.copy_(state["skipped"])
        if "log2_scale" in state:  # older checkpoints have none
            self.log2_scale.copy_(state["log2_scale"])

    def _moments(self) -> list[tuple[str, torch.Tensor]]:
        """Return both moments with their names."""
        return [("m", self.m), ("v", self.v)]
