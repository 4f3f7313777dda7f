"""What a network file holds, and opening one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from dnnlib.errors import UserError
from training.networks.architectures import build_discriminator, build_generator
from training.networks.base import DerivedBuffers, Discriminator, Generator
from training.networks.config import AnyDiscriminatorConfig
from training.spec import ImageSpec


@dataclass(frozen=True)
class Stored:
    """A tensor that is still in its file."""

    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]


def same(x: np.ndarray) -> np.ndarray:
    """The layout that needs no change."""
    return x


@dataclass(frozen=True)
class Row:
    """A line of the table between a file's tensors and ours: `transform` turns theirs into the layout of ours."""

    ours: str
    theirs: str
    transform: Callable[[np.ndarray], np.ndarray] = same


def translate(
    table: Sequence[Row], arrays: Mapping[str, np.ndarray], where: str, optional: Sequence[str] = ()
) -> dict[str, Stored]:
    """Return the arrays of a file under our names, unread; `optional` ones of theirs may be without a row.

    Raise UserError, headed `where`, if a row has no array or an array has no row.
    """
    theirs = {row.theirs for row in table}
    for what, names in (("missing", theirs - arrays.keys()), ("unknown", arrays.keys() - theirs - set(optional))):
        if names:
            raise UserError(f"{where}: {what} tensor{'s' * (len(names) > 1)} {_some(names)}")

    def reader(row: Row) -> Callable[[], torch.Tensor]:
        return lambda: torch.from_numpy(np.array(row.transform(arrays[row.theirs]), dtype=np.float32, order="C"))

    def shape(row: Row) -> tuple[int, ...]:
        try:
            return row.transform(np.broadcast_to(np.float32(0), arrays[row.theirs].shape)).shape
        except (ValueError, IndexError) as e:
            raise UserError(f"{where}: {row.theirs} has shape {list(arrays[row.theirs].shape)}: {e}") from e

    return {row.ours: Stored(shape(row), reader(row)) for row in table}


def _some(names: set[str]) -> str:
    shown = sorted(names)[:5]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class Part:
    """One network of a file: its options and its tensors, unread until `build`."""

    def __init__(self, cfg: Any, spec: ImageSpec, tensors: dict[str, Stored], where: str) -> None:
        """Raise UserError, headed `where`, unless the tensors are those of a network with these options."""
        self.cfg = cfg
        self.spec = spec
        self.tensors = tensors
        try:
            self.network = self._empty()
        except (ValueError, OverflowError, RuntimeError) as e:  # torch: of sizes beyond its integers
            raise UserError(f"{where}: {e}") from e

        expected = {k: tuple(t.shape) for k, t in self.network.state_dict().items()}
        for what, keys in (
            ("missing tensor", expected.keys() - tensors.keys()),
            ("unknown tensor", tensors.keys() - expected.keys()),
        ):
            if keys:
                raise UserError(f"{where}: of another architecture: {what} {_some(keys)}")
        for key, stored in tensors.items():
            if stored.shape != expected[key]:
                raise UserError(
                    f"{where}: of another architecture: {key} is {list(stored.shape)}, expected {list(expected[key])}"
                )

    def _empty(self) -> Generator | Discriminator:
        with torch.device("meta"):  # no time for initial weights that are replaced at once
            if isinstance(self.cfg, AnyDiscriminatorConfig):
                return build_discriminator(self.cfg, self.spec)
            return build_generator(self.cfg, self.spec)

    @property
    def parameters(self) -> int:
        """Return the number of trainable values."""
        return sum(p.numel() for p in self.network.parameters())

    def build(self) -> Any:
        """Return the network with the weights of the file, in eval mode on the CPU."""
        net: nn.Module = self._empty()
        state = {}
        for key, stored in self.tensors.items():
            state[key] = stored.read()

        net.load_state_dict(state, assign=True)
        for module in net.modules():
            if isinstance(module, DerivedBuffers):
                module.reset_buffers()
        return net.eval().requires_grad_(False)


class NetworkFile:
    """The networks of one file (or of several that belong together), in eval mode on the CPU; None where there is none.
    Each is read from the file when it is first asked for."""

    def __init__(
        self,
        where: str,
        parts: dict[str, Part],
        spec: ImageSpec,
        cur_nimg: int | None,
        origin: str,
        notes: Sequence[str] = (),
    ) -> None:
        self.where = where
        """The file or files."""
        self.parts = parts
        """Some of `G`, `D`, `G_ema`."""
        self.spec = spec
        self.cur_nimg = cur_nimg
        """Real images shown to D when the file was written, if known."""
        self.origin = origin
        """What wrote the weights, empty = this program."""
        self.notes = notes
        """What a user should know about the file."""

    def _build(self, name: str) -> Any:
        return self.parts[name].build() if name in self.parts else None

    @cached_property
    def G(self) -> Generator | None:
        """The generator as trained."""
        return self._build("G")  # type: ignore[no-any-return]

    @cached_property
    def D(self) -> Discriminator | None:
        """The discriminator."""
        return self._build("D")  # type: ignore[no-any-return]

    @cached_property
    def G_ema(self) -> Generator | None:
        """The moving average of the generator (TF: Gs, BMSG-GAN: the shadow generator)."""
        return self._build("G_ema")  # type: ignore[no-any-return]

    def generator(self) -> Generator:
        """Return the generator to sample: G_ema, or G if there is no other; raise UserError without either."""
        net = self.G_ema if "G_ema" in self.parts else self.G
        if net is None:
            raise UserError(f"{self.where}: holds no generator, only a discriminator")
        return net


def join(files: Sequence[NetworkFile]) -> NetworkFile:
    """Return several files as one; raise UserError if they do not belong together."""
    parts: dict[str, Part] = {}
    for net in files:
        name = net.where
        if net.spec != files[0].spec:
            a, b = files[0].spec, net.spec
            raise UserError(
                f"{name}: for images {b.channels}x{b.resolution}x{b.resolution} with {b.c_dim} label values, expected "
                f"{a.channels}x{a.resolution}x{a.resolution} with {a.c_dim} as in {files[0].where}"
            )
        for role, part in net.parts.items():
            if role in parts:
                raise UserError(f"{name}: a second {role}, expected one of each of G, D and G_ema")
            parts[role] = part
        if {"G", "G_ema"} <= parts.keys() and parts["G"].cfg != parts["G_ema"].cfg:
            raise UserError(f"{name}: G and G_ema differ: {parts['G'].cfg} and {parts['G_ema'].cfg}")

    notes = list(dict.fromkeys(note for net in files for note in net.notes))
    return NetworkFile(
        " ".join(net.where for net in files), parts, files[0].spec, files[0].cur_nimg, files[0].origin, notes
    )
