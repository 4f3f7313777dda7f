"""A generator as other programs see it: plain tensors in, plain tensors out."""

from typing import Literal

import torch
from torch import nn

from training.networks.base import Generator

ExportedNoise = Literal["const", "none", "input"]
Precision = Literal["fp32", "fp16"]


class ExportedGenerator(nn.Module):
    """z [N,z_dim], c [N,c_dim] (of a conditional network), psi [] -> images [N,C,h,w], float32, about [-1,1].

    psi is the strength of truncation: 1 = none, 0 = the average image; it applies to the layers that the network is
    configured with. With noise as an input, the noise [N,1,h,w] of each layer follows.
    """

    def __init__(
        self, G: Generator, levels: list[int], noise: ExportedNoise = "const", precision: Precision = "fp32"
    ) -> None:
        """Take over a generator, whose weights are converted. `levels` are those that are returned, 0 = smallest."""
        super().__init__()
        self.G = G.eval().requires_grad_(False)
        self.levels = levels
        self.noise: ExportedNoise = noise
        self.precision = precision

        # The mapping network is small, and w needs its digits.
        if precision == "fp16":
            self.G.synthesis.half()

        synthesis = G.synthesis
        self.noise_shapes = synthesis.noise_shapes(1) if noise == "input" else []
        self.input_names = ["z", *(["c"] if G.spec.c_dim else []), "psi"]
        self.input_names += [f"noise{i}" for i in range(len(self.noise_shapes))]
        self.output_names = [f"image{synthesis.image_sizes[level][0]}" for level in levels]

    def forward(self, z: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        c, (psi, *noise) = (others[0], others[1:]) if self.G.spec.c_dim else (None, others)
        mapping = self.G.mapping

        # Layers from the cutoff on are not truncated.
        w = mapping(z, c)  # [N,num_ws,w_dim]
        cutoff = self.G.cfg.truncation_cutoff
        count = mapping.num_ws if cutoff is None else min(cutoff, mapping.num_ws)
        factors = torch.cat([psi.expand(count), torch.ones_like(psi).expand(mapping.num_ws - count)])  # [num_ws]
        w = mapping.w_avg + (w - mapping.w_avg) * factors[:, None]

        # Weights of 16 bits take inputs of 16 bits.
        if self.precision == "fp16":
            w, noise = w.half(), [x.half() for x in noise]
        images = self.G.synthesis(w, "none" if self.noise == "none" else "const", list(noise) or None)
        return tuple(images[level].float() for level in self.levels)

    def example(self, n: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """Return random inputs of the right shapes, on the CPU."""
        rng = torch.Generator().manual_seed(seed)
        spec = self.G.spec
        inputs = [torch.randn(n, self.G.cfg.z_dim, generator=rng)]
        if spec.c_dim:
            inputs.append(torch.eye(spec.c_dim)[torch.arange(n) % spec.c_dim])
        inputs.append(torch.tensor(0.7))
        return (*inputs, *(torch.randn(n, *shape[1:], generator=rng) for shape in self.noise_shapes))
