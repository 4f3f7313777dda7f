"""What every generator and every discriminator offers, whatever its architecture."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from training.networks.config import AnyDiscriminatorConfig, AnyGeneratorConfig
from training.ops.epilogue import pixel_norm
from training.pyramid import Pyramid
from training.spec import ImageSpec

NoiseMode = Literal["random", "const", "none"]
Noise = Sequence[torch.Tensor]


class DerivedBuffers(nn.Module, ABC):
    """A module with buffers that follow from its options and are not stored with its weights."""

    @abstractmethod
    def reset_buffers(self) -> None:
        """Fill these buffers; needed after a module was built on the meta device, where tensors have no values."""


class Mapping(nn.Module):
    """z [N,z_dim], c [N,c_dim] or None -> w [N,num_ws,w_dim]: what a synthesis network starts from.

    c None counts as zeros. Subclasses add what follows the normalisation of z and its label embedding.
    """

    w_avg: torch.Tensor
    """[w_dim], mean of w, which truncation pulls towards."""

    def __init__(self, cfg: AnyGeneratorConfig, spec: ImageSpec, num_ws: int) -> None:
        super().__init__()
        self.normalize_z = cfg.normalize_z
        self.c_dim = spec.c_dim
        self.num_ws = num_ws

        # Labels are embedded in as many values as z has, and appended to it.
        self.n_in = cfg.z_dim * (2 if spec.c_dim else 1)
        if spec.c_dim:
            self.label_weight = nn.Parameter(torch.randn(spec.c_dim, cfg.z_dim))

    def embed(self, z: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        """Return z with its label embedding appended, scaled to unit mean square if so configured: [N,n_in]."""
        x = z.to(self.w_avg.dtype)  # [N,z_dim]
        if self.c_dim:
            c = x.new_zeros(x.shape[0], self.c_dim) if c is None else c.to(x.dtype)
            with torch.autocast(x.device.type, enabled=False):  # bf16 would blur the latent
                x = torch.cat([x, c @ self.label_weight], 1)  # [N,2*z_dim]
        return pixel_norm(x) if self.normalize_z else x

    def truncate(self, w: torch.Tensor, psi: float, cutoff: int | None) -> torch.Tensor:
        """Pull the first `cutoff` layers (None = all) of w [N,num_ws,w_dim] towards w_avg.

        psi: 1 leaves w as it is, 0 puts it onto w_avg (StyleGAN, appendix B).
        """
        layer = torch.arange(self.num_ws, device=w.device)[:, None]  # [num_ws,1]

        # Layers from the cutoff on keep their w.
        psis = torch.where(layer < (self.num_ws if cutoff is None else cutoff), psi, 1.0).to(w.dtype)
        return self.w_avg + (w - self.w_avg) * psis  # [N,num_ws,w_dim]


class PlainMapping(Mapping, DerivedBuffers):
    """z [N,z_dim], c [N,c_dim] or None -> w [N,1,w_dim]: z, with labels their embedding too, normalised if asked for.

    w_avg is 0, the mean of w by symmetry.
    """

    def __init__(self, cfg: AnyGeneratorConfig, spec: ImageSpec) -> None:
        super().__init__(cfg, spec, num_ws=1)
        self.register_buffer("w_avg", torch.zeros(self.n_in), persistent=False)

    def reset_buffers(self) -> None:
        self.w_avg = torch.zeros(self.n_in)

    def forward(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        return self.embed(z, c)[:, None]  # [N,1,w_dim]


class Synthesis(nn.Module, ABC):
    """w [N,num_ws,w_dim] -> pyramid of images. Without noise inputs `noise_mode` and `noise` change nothing."""

    num_ws: int
    """How many w a synthesis network takes, one for each of its layers."""
    sizes: tuple[tuple[int, int], ...]
    """(height, width) that each block works at, smallest first."""

    @property
    def image_sizes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of the images of a pyramid, smallest first."""
        return self.sizes

    def noise_shapes(self, n: int) -> list[tuple[int, int, int, int]]:
        """Return the shape [n,1,h,w] of the noise of each layer; an empty list without noise inputs."""
        return []

    def w_weights(self) -> list[torch.Tensor]:
        """Return for each w the weight [n,w_dim] of the layer by which it enters the network, if there is one."""
        return []

    @abstractmethod
    def forward(self, w: torch.Tensor, noise_mode: NoiseMode = "random", noise: Noise | None = None) -> Pyramid:
        """Return the images.

        noise: one tensor [N or 1,1,h,w] for each layer; overrides `noise_mode`.
        noise_mode: fresh noise (random), the noise stored with the network (const), or none.
        """


class PlainSynthesis(Synthesis):
    """w [N,1,w_dim] -> pyramid of images, where w enters at the smallest block alone.

    Subclasses add for each level, r being its height, a block `b{r}`, of which the smallest takes w and the others the
    features of the one before, and `torgb{r}`, which makes an image of its features.
    """

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.num_ws = 1
        self.sizes = spec.sizes

    def forward(self, w: torch.Tensor, noise_mode: NoiseMode = "random", noise: Noise | None = None) -> Pyramid:
        # Blocks from the smallest on, each with its image.
        x = w[:, 0]  # [N,w_dim]
        images = []
        for r, _ in self.sizes:
            x = self.get_submodule(f"b{r}")(x)  # [N,nf,h,w]
            images.append(self.get_submodule(f"torgb{r}")(x).to(w.dtype))  # [N,channels,h,w]
        return tuple(images)


class Generator(nn.Module):
    """z [N,z_dim], c [N,c_dim] or None -> pyramid of images [N,channels,h,w], float, about [-1,1]."""

    mapping: Mapping
    synthesis: Synthesis

    def __init__(self, cfg: AnyGeneratorConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.cfg = cfg
        self.spec = spec

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        truncation_psi: float | None = None,
        truncation_cutoff: int | None = 8,
        noise_mode: NoiseMode = "random",
        noise: Noise | None = None,
    ) -> Pyramid:
        """Return the images of z, with fresh noise unless `noise_mode` or `noise` says otherwise.

        truncation_psi: strength of truncation; None or 1 = none, the distribution that was trained and that metrics
            measure.
        truncation_cutoff: number of layers that are truncated; None = all.
        """
        w = self.mapping(z, c)  # [N,num_ws,w_dim]

        # Without truncation, w is used bit by bit as it is.
        if truncation_psi is not None and truncation_psi != 1:
            w = self.mapping.truncate(w, truncation_psi, truncation_cutoff)

        images: Pyramid = self.synthesis(w, noise_mode, noise)
        return images


class Discriminator(nn.Module):
    """pyramid, c [N,c_dim] -> scores [N,1].

    Subclasses add a block `b{r}` for each level, r being its height. It takes x (None at the full resolution) and the
    image of its size, and returns x for the next smaller block; the last one returns what `weigh` makes scores of,
    [N,score_outputs(cfg, spec)].
    """

    def __init__(self, cfg: AnyDiscriminatorConfig, spec: ImageSpec) -> None:
        super().__init__()
        self.cfg = cfg
        self.spec = spec

    def forward(self, pyramid: Sequence[torch.Tensor], c: torch.Tensor | None = None) -> torch.Tensor:
        if len(pyramid) != len(self.spec.resolutions):
            raise ValueError(f"D: found {len(pyramid)} images, expected one of each of {self.spec.resolutions}")

        # Blocks from the full resolution down, each with its image.
        x: torch.Tensor | None = None
        for r, image in zip(reversed(self.spec.resolutions), reversed(pyramid), strict=True):
            image = image.contiguous(memory_format=torch.channels_last)
            x = self.get_submodule(f"b{r}")(x, image)

        assert x is not None
        return self.weigh(x, c)  # [N,1]

    def weigh(self, x: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        """Return the scores [N,1] of images with labels c [N,c_dim], from the last layer's [N,score_outputs(...)].

        c None (zeros) would leave no score of a class, and is an error.
        """
        if not self.spec.c_dim:
            return x
        if c is None:
            raise ValueError(f"D: found no labels, expected [N,{self.spec.c_dim}]")

        # A one-hot label picks the score of its class.
        of_classes = x[:, : self.spec.c_dim]
        scores = (of_classes * c.to(x.dtype)).sum(1, keepdim=True)  # [N,1]

        # The projection discriminator has a score besides that all classes share (Miyato and Koyama 2018, eq. 3).
        return scores + x[:, self.spec.c_dim :] if self.cfg.label_head == "projection" else scores


def score_outputs(cfg: AnyDiscriminatorConfig, spec: ImageSpec) -> int:
    """Return how many values the last layer of a discriminator has, of which `Discriminator.weigh` makes one score."""
    if not spec.c_dim:
        return 1
    return spec.c_dim + (cfg.label_head == "projection")


def check_seen_resolutions(resolutions: tuple[int, ...] | None, spec: ImageSpec) -> None:
    """Raise ValueError unless D's choice of resolutions lies below the full one; None = all of them."""
    # The image of the full resolution is what D begins with.
    lower = spec.resolutions[:-1]
    unknown = set(resolutions or ()) - set(lower)
    if unknown:
        raise ValueError(f"D.resolutions: found {sorted(unknown)}, expected some of {lower}")
