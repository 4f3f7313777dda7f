"""The one place where a seed becomes an image: seeds -> latents -> images, by a network from any file."""

import math
import re
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal, NamedTuple, TypeVar, get_args, get_type_hints

import numpy as np
import torch
import tyro

from dnnlib.cpu_threads import share_cores
from dnnlib.distributed import pick_device
from dnnlib.errors import UserError
from generation.networks import NetworkOptions
from pretrained import load_network
from training import pyramid
from training.networks.base import Generator, NoiseMode

T = TypeVar("T")

Device = Literal["auto", "cuda", "cpu"]

# Pixels that one batch holds unless --batch says otherwise, and the most images. On a CPU larger batches bring nothing.
BATCH_PIXELS = {"cpu": (2**18, 16), "cuda": (2**22, 64)}


@dataclass(frozen=True, kw_only=True)
class SamplingOptions(NetworkOptions):
    """How images are drawn from a network."""

    trunc: float | None = None
    """Truncation psi: 1 = none, 0 = the average image. Default: the network's own setting."""
    trunc_cutoff: int | None = None
    """Number of layers that truncation applies to. Default: the network's own setting."""
    class_idx: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """Class to generate with a conditional network. Default: drawn from the seed."""
    noise_mode: Literal["const", "random", "none"] = "const"
    """Noise inputs: const = stored noise, random = noise drawn from the seed, none = no noise."""
    channels: str | None = None
    """Channels to show, counted from 0, as gray (one number) or red, green and blue (three, e.g. 3,2,1). Default:
    all."""
    batch: int | None = None
    """Images that are computed together. Default: as many as suit their size and the device."""
    device: Device = "auto"
    """auto = CUDA if a GPU is available."""

    def __post_init__(self) -> None:
        for name, found in (("noise_mode", self.noise_mode), ("device", self.device)):
            choices = get_args(get_type_hints(SamplingOptions)[name])
            if found not in choices:
                raise ValueError(f"{name} {found}: expected one of {', '.join(choices)}")
        if self.trunc is not None and not -10 <= self.trunc <= 10:
            raise ValueError(f"--trunc {self.trunc}: expected -10 to 10")
        if self.trunc_cutoff is not None and self.trunc_cutoff < 0:
            raise ValueError(f"--trunc-cutoff {self.trunc_cutoff}: expected >= 0")
        if self.batch is not None and not 1 <= self.batch <= 4096:
            raise ValueError(f"--batch {self.batch}: expected 1 to 4096")


Options = Annotated[SamplingOptions, tyro.conf.OmitArgPrefixes]
"""The type of a command's parameter whose fields become options of the command."""


class Latent(NamedTuple):
    """What an image is made from."""

    z: np.ndarray  # float64 [z_dim]
    c: np.ndarray  # float32 [c_dim]
    noise_seed: int
    """What the noise follows from, if it is random."""


class Sample(NamedTuple):
    """An image and what it was made from."""

    latent: Latent
    w: np.ndarray  # float32 [num_ws,w_dim], truncated
    images: list[np.ndarray]
    """The pyramid as uint8 [C,h,w], smallest first."""


class Sampler:
    """A network with the options that it is sampled with.

    Images are computed in batches of one size, the last one filled up, because sums inside a convolution depend on the
    size of its batch: so a seed gives the same pixels whatever else is drawn. Another batch size or device gives the
    same pictures up to rounding, which is one of 255 gray levels in about one of 10,000 pixels.
    """

    def __init__(self, options: SamplingOptions, G: Generator | None = None) -> None:
        """Open the network, unless it is given as `G`.

        Raises UserError if there is none in the file, or if it has no such class.
        """
        self.options = options

        # The network, on the device that it is asked for.
        self.device = pick_device(options.device)
        if self.device.type == "cpu":
            share_cores()
        if G is None:
            G = load_network(options.find()).generator()
        self.G = G.to(self.device)
        self.sizes = self.G.synthesis.image_sizes
        """(height, width) of each level, smallest first."""
        self.channels = parse_channels(options.channels, self.G.spec.channels)

        # The class is checked before the first image.
        c_dim = self.G.spec.c_dim
        if options.class_idx is not None and not 0 <= options.class_idx < c_dim:
            expected = f"0 to {c_dim - 1}" if c_dim else "no --class, because the network has no classes"
            raise UserError(f"--class {options.class_idx}: expected {expected}")

        # Large images fill a batch sooner.
        self._rng = np.random.RandomState()
        pixels, most = BATCH_PIXELS[self.device.type]
        self.batch = options.batch or max(1, min(most, pixels // math.prod(self.sizes[-1])))

    @property
    def has_noise(self) -> bool:
        """Whether noise changes the network's images."""
        return bool(self.G.synthesis.noise_shapes(1))

    # From seeds to latents.

    def latent(self, seed: int) -> Latent:
        """Return the latent of a seed, 0 to 2^32 - 1, which is that of StyleGAN's scripts."""
        # The numbers of RandomState(seed), a new one of which takes sixty times as long.
        self._rng.seed(seed)
        z = self._rng.randn(self.G.cfg.z_dim)
        return Latent(z, self._label(self._rng), seed)

    def latents(self, seeds: Iterable[int]) -> Iterator[Latent]:
        """Yield the latent of each seed."""
        return (self.latent(seed) for seed in seeds)

    def random_state(self, seed: int, count: int) -> Iterator[Latent]:
        """Yield the `count` latents that the scripts of msg-stylegan-tf draw with `--random_state seed`.

        They come one after the other from one generator of random numbers, so latent i does not depend on `count`; each
        is scaled to unit mean square.
        """
        # Classes, which the original's networks had none of, are drawn apart, so that they leave the latents alone.
        rng = np.random.RandomState(seed)
        labels = np.random.RandomState(seed)

        for i in range(count):
            z = rng.randn(self.G.cfg.z_dim)
            z *= len(z) ** 0.5 / np.linalg.norm(z)
            yield Latent(z, self._label(labels), i)

    def _label(self, rng: np.random.RandomState) -> np.ndarray:
        """Return the label [c_dim] of the class that the options give, or else of one that is drawn."""
        # Unconditional networks have labels of length 0.
        c = np.zeros(self.G.spec.c_dim, np.float32)
        if len(c):
            c[rng.randint(len(c)) if self.options.class_idx is None else self.options.class_idx] = 1
        return c

    # From latents to images.

    def map(self, latents: Sequence[Latent], psi: float | None = None, cutoff: int | None = None) -> torch.Tensor:
        """Return w [N,num_ws,w_dim] of latents.

        psi, cutoff: strength of truncation, and the number of layers that are truncated; None = as the options say, or
            the network where they leave it open.
        """
        parts = [latents[i : i + self.batch] for i in range(0, len(latents), self.batch)]
        return torch.cat([self._map(part, psi, cutoff)[: len(part)] for part in parts])

    def draw(self, latents: Iterable[Latent]) -> Iterator[Sample]:
        """Yield the image of each latent."""
        # Latents are taken as they come, since there may be a million of them.
        remaining = iter(latents)
        parts = iter(lambda: list(islice(remaining, self.batch)), [])

        for part, batch in _one_ahead((part, self._start(self._map(part), _noise_seeds(part))) for part in parts):
            w, *levels = batch.finish()
            for i, latent in enumerate(part):
                yield Sample(latent, w[i], [level[i] for level in levels])

    def render(
        self,
        w: torch.Tensor,
        noise_seeds: Sequence[int],
        noise_layers: Container[int] | None = None,
        noise: Sequence[torch.Tensor] = (),
    ) -> Iterator[list[np.ndarray]]:
        """Yield the pyramid of each w [N,num_ws,w_dim] as uint8 [C,h,w], smallest first.

        noise_seeds: what the noise of each image follows from, if it is random.
        noise_layers: the layers that random noise is added in; None = all.
        noise: the noise of each layer [N,1,h,w], in place of any other; empty = as the options say.
        """
        slices = [slice(i, i + self.batch) for i in range(0, len(w), self.batch)]
        parts = ((w[part], noise_seeds[part], [layer[part] for layer in noise]) for part in slices)

        # The filling of the last batch is left out.
        batches = ((len(part), self._start(part, seeds, noise_layers, given)) for part, seeds, given in parts)
        for count, batch in _one_ahead(batches):
            _, *levels = batch.finish()
            for i in range(count):
                yield [level[i] for level in levels]

    def noise(self, seed: int, layers: Container[int] | None = None) -> list[torch.Tensor]:
        """Return the random noise of a seed, [1,1,h,w] for each layer; zeros except in `layers`, None = all."""
        # Drawn on the CPU, so that every device adds the same noise.
        rng = torch.Generator().manual_seed(seed)

        # Every layer's noise is drawn, whether it is used or not, so that it is the same for any choice of layers.
        noise = [torch.randn(shape, generator=rng) for shape in self.G.synthesis.noise_shapes(1)]
        return [
            (x if layers is None or layer in layers else torch.zeros_like(x)).to(self.device)
            for layer, x in enumerate(noise)
        ]

    @torch.no_grad()
    def _map(self, latents: Sequence[Latent], psi: float | None = None, cutoff: int | None = None) -> torch.Tensor:
        """Return w [batch,num_ws,w_dim] of at most a batch of latents, filled up."""
        # Map a whole batch.
        z = torch.from_numpy(np.stack([latent.z for latent in latents])).float()
        c = torch.from_numpy(np.stack([latent.c for latent in latents]))
        w = self.G.mapping(self._filled_up(z.to(self.device)), self._filled_up(c.to(self.device)))

        # What the options leave open, the network was configured with. Without truncation, w stays bit by bit.
        options, cfg = self.options, self.G.cfg
        if psi is None:
            psi = cfg.truncation_psi if options.trunc is None else options.trunc
        if cutoff is None:
            cutoff = cfg.truncation_cutoff if options.trunc_cutoff is None else options.trunc_cutoff
        return w if psi == 1 else self.G.mapping.truncate(w, psi, cutoff)

    @torch.no_grad()
    def _start(
        self,
        w: torch.Tensor,
        noise_seeds: Sequence[int],
        noise_layers: Container[int] | None = None,
        given: Sequence[torch.Tensor] = (),
    ) -> "_Batch":
        """Start the computation of the images of at most a batch of w, and return it without waiting for a GPU."""
        # Noise that is stored, or none, is the network's own affair.
        w = self._filled_up(w)
        noise_mode: NoiseMode = self.options.noise_mode
        noise = [self._filled_up(layer) for layer in given] or None
        if noise is None and noise_mode == "random" and self.has_noise:
            # Films have one noise for all frames.
            shared = len(set(noise_seeds)) == 1
            noises = [self.noise(seed, noise_layers) for seed in (noise_seeds[:1] if shared else noise_seeds)]
            noise = [torch.cat(layer) for layer in zip(*noises, strict=True)]  # [1 or n,1,h,w] each
            noise = noise if shared else [self._filled_up(layer) for layer in noise]

        try:
            images = self.G.synthesis(w, noise_mode=noise_mode, noise=noise)
        except torch.OutOfMemoryError as e:
            raise UserError(f"--batch {self.batch}: the GPU has too little memory, expected a smaller batch") from e
        if self.options.channels is not None:
            images = tuple(level[:, self.channels] for level in images)
        return _Batch([w, *(pyramid.to_uint8(level) for level in images)])

    def _filled_up(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [n,...] with its last row repeated until there is a whole batch."""
        missing = self.batch - len(x)
        return torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing else x


def parse_channels(text: str | None, count: int) -> list[int]:
    """Return the numbers of the channels that `2` or `3,2,1` stands for, None = all of `count`."""
    if text is None:
        return list(range(count))
    if not re.fullmatch(r"\d{1,4}(,\d{1,4},\d{1,4})?", text):
        raise UserError(f"--channels {text}: expected one number, or three such as 3,2,1")

    chosen = [int(part) for part in text.split(",")]
    if max(chosen) >= count:
        raise UserError(f"--channels {text}: expected numbers from 0 to {count - 1}")
    return chosen


class _Batch:
    """Tensors on their way from the device to the host, while the device goes on to the next batch."""

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        self.event: torch.cuda.Event | None = None
        self.tensors = tensors
        if tensors[0].is_cuda:
            # Only copies into pinned memory run beside the computation.
            self.tensors = [torch.empty(x.shape, dtype=x.dtype, pin_memory=True) for x in tensors]
            for host, x in zip(self.tensors, tensors, strict=True):
                host.copy_(x, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record()

    def finish(self) -> list[np.ndarray]:
        """Wait for the tensors, and return them."""
        if self.event is not None:
            self.event.synchronize()
        return [x.numpy() for x in self.tensors]


def _one_ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield the items, each after the next one has been made."""
    previous: list[T] = []
    for item in items:
        yield from previous
        previous = [item]
    yield from previous


def _noise_seeds(latents: Sequence[Latent]) -> list[int]:
    return [latent.noise_seed for latent in latents]
