"""Adam on flat storage.

Each network has one buffer of parameters, one of gradients and one of each moment, so that the all-reduce, the check
for non-finite gradients, the update and the moving average are a few operations on whole networks.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from dnnlib import distributed
from training.config import AdamConfig


def flatten_parameters(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    """Move parameters into one contiguous tensor [P], of which they become views, and return it."""
    params = list(parameters)
    flat = parameters_to_vector(params).detach()
    vector_to_parameters(flat, params)
    return flat


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1; `form` "tf": the variant of section 2 with eps-hat).

    `.grad` [P] receives the gradients of backward passes, and `.extra` [E] values that travel with them; `all_reduce`
    sums both over all processes, and `step` applies the gradients. A step with a non-finite gradient changes nothing
    but `skipped`.
    """

    def __init__(self, module: nn.Module, cfg: AdamConfig, extra: int = 0) -> None:
        self.cfg = cfg

        # Parameters, gradients and what travels with them, each in one piece.
        params = list(module.parameters())
        self.flat = flatten_parameters(params)
        self.buffer = self.flat.new_zeros(len(self.flat) + extra)
        self.grad, self.extra = self.buffer[: len(self.flat)], self.buffer[len(self.flat) :]
        for p, view in zip(params, self.grad.split([p.numel() for p in params]), strict=True):
            p.grad = view.view_as(p)

        # Moments, and the numbers of steps taken and skipped.
        self.m = torch.zeros_like(self.flat)
        self.v = torch.zeros_like(self.flat)
        self.t = torch.zeros((), dtype=torch.float64, device=self.flat.device)
        self.skipped = torch.zeros((), dtype=torch.float64, device=self.flat.device)

    def zero_grad(self) -> None:
        """Set gradients and extra values to 0."""
        self.buffer.zero_()

    def all_reduce(self) -> None:
        """Sum gradients and extra values over all processes, in one operation."""
        distributed.all_reduce_sum(self.buffer)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step from `.grad`, without waiting for the device."""
        cfg = self.cfg

        # If any gradient is not finite, multiply everything by 0 instead of branching on the host.
        finite = self.grad.isfinite().all()
        ok = finite.to(self.grad.dtype)  # 1 or 0: times 0 the update changes nothing
        grad = torch.where(finite, self.grad, torch.zeros_like(self.grad))
        self.t += finite
        self.skipped += ~finite

        # Moments.
        self.m.lerp_(grad, (1 - cfg.beta1) * ok)
        self.v.lerp_(grad.square_(), (1 - cfg.beta2) * ok)

        # Bias correction, with eps before or after that of the second moment.
        t = self.t.clamp(min=1)
        correction1 = 1 - cfg.beta1**t
        correction2 = (1 - cfg.beta2**t).sqrt()
        eps = cfg.eps if cfg.form == "tf" else cfg.eps * correction2

        update = self.m / (self.v.sqrt() + eps)
        self.flat.addcmul_(update, (-lr * ok * correction2 / correction1).to(update.dtype))

    def state_dict(self) -> dict[str, Any]:
        """Return references to the moments and counts; the weights belong to the network."""
        return {"m": self.m, "v": self.v, "t": self.t, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `state_dict` returned."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])
