"""The operations and the memory that steps of training take, counted without running them."""

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from dnnlib.distributed import pick_device
from training.augment.augmenter import Augmenter
from training.config import TrainConfig
from training.latents import GeneratorInputs
from training.networks.architectures import build_discriminator, build_generator
from training.precision import autocast, resolve_precision
from training.spec import ImageSpec
from training.step import RealBatch, d_step, g_step


@dataclass(frozen=True)
class Cost:
    """Floating-point operations per image of a D step (averaged over those with and without R1), a G step and sampling,
    and the most bytes that a step and the state of the optimizers take."""

    d_flops: float
    g_flops: float
    sample_flops: float
    peak_bytes: int


class _Meter(TorchDispatchMode):
    """Counts operations, and the most bytes that the tensors made inside it hold at any moment.

    torch's own FlopCounterMode and MemTracker fail inside torch.func.grad, which the gradient penalties use.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = self.peak = 0
        self.storages: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()  # those that are alive

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # torch knows how many operations convolutions and matrix products take; the rest hardly counts.
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count_flops = flop_registry.get(func._overloadpacket)
        if count_flops:
            self.flops += count_flops(*args, **kwargs, out_val=out)

        # New storages, until they are freed; views share one.
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage() not in self.storages:
                storage = leaf.untyped_storage()
                self.storages.add(storage)
                self.bytes += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.bytes)
        return out

    def _free(self, nbytes: int) -> None:
        self.bytes -= nbytes


def estimate_cost(cfg: TrainConfig, spec: ImageSpec) -> Cost:
    """Count the cost of a D step, a G step and sampling on fake tensors: nothing is computed or allocated."""
    n = cfg.images_per_pass
    device = torch.device("cpu")

    with FakeTensorMode(), autocast(resolve_precision(cfg.precision, pick_device(cfg.device)), device):
        # Networks and inputs that have shapes but no values.
        G, D = build_generator(cfg.G, spec), build_discriminator(cfg.D, spec)
        z, c = torch.zeros(n, cfg.G.z_dim), torch.zeros(n, spec.c_dim)
        noise = tuple(torch.zeros(s) for s in G.synthesis.noise_shapes(n))
        augmentation = Augmenter(cfg.augment, spec, device).draw(n, ())
        inputs = GeneratorInputs(z, c, noise, augmentation=augmentation)
        reals = RealBatch(tuple(torch.zeros(n, spec.channels, *size) for size in spec.sizes), c, augmentation)
        share = torch.zeros(n)

        # D steps with and without R1 and R2, a G step, and sampling.
        with _Meter() as d_reg:
            d_step(G, D, cfg.loss, reals, inputs, torch.ones(()), share).loss.backward()
        with _Meter() as d_plain:
            d_step(G, D, cfg.loss, reals, inputs, None, share).loss.backward()
        D.requires_grad_(False)
        with _Meter() as g:
            g_step(G, D, cfg.loss, inputs, reals).loss.backward()
        with _Meter() as sampling, torch.no_grad():
            G(z, c)

        # G: weights, gradients, two moments and the average; D: the same without an average.
        weights = sum(p.numel() for p in G.parameters()) * 5 + sum(p.numel() for p in D.parameters()) * 4

    # R1 and R2 are taken in one D step out of k.
    k = cfg.loss.reg_interval
    return Cost(
        d_flops=(d_reg.flops + (k - 1) * d_plain.flops) / k / n,
        g_flops=g.flops / n,
        sample_flops=sampling.flops / n,
        peak_bytes=max(d_reg.peak, d_plain.peak, g.peak) + 4 * weights,
    )
