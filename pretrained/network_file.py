"""What a network file holds, and opening one."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from dnnlib.errors import UserError
from training.networks.architectures import build_discriminator, build_generator
from training.networks.base import DerivedBuffers, Discriminator, Generator
from training.networks.config import AnyDiscriminatorConfig
from training.spec import ImageSpec, shape_text


@dataclass(frozen=True)
class Stored:
    """A tensor that is still in its file."""

    shape: tuple[int, ...]
    read: Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Row:
    """A line of the table between a file's tensors and ours: `transform` turns theirs into the layout of ours."""

    ours: str
    theirs: str
    transform: Callable[[np.ndarray], np.ndarray] = np.asarray


def layer_rows(ours: str, theirs: str, transform: Callable[[np.ndarray], np.ndarray] = np.asarray) -> tuple[Row, Row]:
    """Return the rows of a layer's weight, which `transform` is for, and bias; `theirs` ends in its separator."""
    return Row(f"{ours}.weight", f"{theirs}weight", transform), Row(f"{ours}.bias", f"{theirs}bias")


def check_names(found: Set[str], expected: Set[str], where: str) -> None:
    """Raise UserError, headed `where`, if tensors of a file are missing or unknown."""
    for problem, names in (("missing", expected - found), ("unknown", found - expected)):
        if names:
            # A few names are enough to see which file it is.
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise UserError(f"{where}: {problem} tensor{'s' * (len(names) > 1)} {', '.join(sorted(names)[:5])}{more}")


def translate(table: Sequence[Row], arrays: Mapping[str, np.ndarray], where: str) -> dict[str, Stored]:
    """Return the arrays of a file as float32 tensors under our names and in our layout.

    Raise UserError, headed `where`, if a row has no array, an array has no row, or a layout cannot be changed.
    """
    check_names(arrays.keys(), {row.theirs for row in table}, where)

    tensors = {}
    for row in table:
        # Most layouts are views, so that nothing is copied until a tensor is read.
        array = arrays[row.theirs]
        try:
            array = row.transform(array)
        except (ValueError, IndexError) as e:
            raise UserError(f"{where}: {row.theirs} has shape {list(array.shape)}: {e}") from e

        tensors[row.ours] = Stored(array.shape, partial(_float32, array))
    return tensors


def _float32(array: np.ndarray) -> torch.Tensor:
    """Copy an array of any number type, byte order and layout."""
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


class Part:
    """One network of a file: its options, and its tensors, which stay unread until `build`."""

    def __init__(self, cfg: Any, spec: ImageSpec, tensors: dict[str, Stored], where: str) -> None:
        """Raise UserError, headed `where`, unless the tensors are those of a network with these options."""
        self.cfg = cfg
        self.spec = spec
        self.tensors = tensors
        self.where = where

        # A network without values takes no time and no memory. Torch raises RuntimeError for sizes beyond its integers.
        build: Callable[..., Any] = build_discriminator if isinstance(cfg, AnyDiscriminatorConfig) else build_generator
        try:
            with torch.device("meta"):
                self.network = build(cfg, spec)
        except (ValueError, OverflowError, RuntimeError) as e:
            raise UserError(f"{where}: {e}") from e

        # Compare names and shapes.
        expected = self.network.state_dict()
        check_names(tensors.keys(), expected.keys(), f"{where}: of another architecture")
        for key, stored in tensors.items():
            shape = expected[key].shape
            if stored.shape != shape:
                raise UserError(
                    f"{where}: of another architecture: {key} is {list(stored.shape)}, expected {list(shape)}"
                )

    def build(self) -> Any:
        """Return the network with the weights of the file, in eval mode on the CPU; the same object each time."""
        self.network.load_state_dict({key: stored.read() for key, stored in self.tensors.items()}, assign=True)

        # Buffers that follow from the options are in no file.
        for module in self.network.modules():
            if isinstance(module, DerivedBuffers):
                module.reset_buffers()

        return self.network.eval().requires_grad_(False)


@dataclass
class NetworkFile:
    """The networks of one file, or of several that belong together, in eval mode on the CPU.

    Each is read from the file when it is first asked for, and is None where there is none.
    """

    where: str
    """The file or files."""
    parts: dict[str, Part]
    """Some of `G`, `D`, `G_ema`."""
    spec: ImageSpec
    """The images that the networks are for."""
    cur_nimg: int | None
    """Real images shown to D when the file was written, if known."""
    origin: str
    """What wrote the weights, empty = this program."""
    notes: Sequence[str] = ()
    """What a user should know about the file."""

    @cached_property
    def G(self) -> Generator | None:
        """The generator as trained."""
        return self.parts["G"].build() if "G" in self.parts else None

    @cached_property
    def D(self) -> Discriminator | None:
        """The discriminator."""
        return self.parts["D"].build() if "D" in self.parts else None

    @cached_property
    def G_ema(self) -> Generator | None:
        """The moving average of the generator (TF: Gs, BMSG-GAN: the shadow generator)."""
        return self.parts["G_ema"].build() if "G_ema" in self.parts else None

    def generator(self) -> Generator:
        """Return the generator to sample: G_ema, or G if there is no other; raise UserError without either."""
        # G is not read if there is a G_ema.
        net = self.G_ema or self.G
        if net is None:
            raise UserError(f"{self.where}: holds no generator, only a discriminator")
        return net


def by_role(parts: Iterable[tuple[str, Part]]) -> dict[str, Part]:
    """Return networks by their role, `G`, `D` or `G_ema`; raise UserError if they do not belong together."""
    roles: dict[str, Part] = {}
    for role, part in parts:
        first = next(iter(roles.values()), part)
        if part.spec != first.spec:
            raise UserError(
                f"{part.where}: for images {_images(part.spec)}, expected {_images(first.spec)} as in {first.where}"
            )
        if role in roles:
            raise UserError(f"{part.where}: a second {role}, expected one of each of G, D and G_ema")

        roles[role] = part

    # A snapshot has one set of options for both.
    if {"G", "G_ema"} <= roles.keys() and roles["G"].cfg != roles["G_ema"].cfg:
        raise UserError(f"{roles['G_ema'].where}: G and G_ema differ: {roles['G'].cfg} and {roles['G_ema'].cfg}")
    return roles


def _images(spec: ImageSpec) -> str:
    """Describe images in an error message."""
    return f"{shape_text(spec.shape)} with {spec.c_dim} label values"


def join(files: Sequence[NetworkFile]) -> NetworkFile:
    """Return several files as one; raise UserError if they do not belong together."""
    where = " ".join(file.where for file in files)
    parts = by_role(item for file in files for item in file.parts.items())

    # What is said of several files is said once.
    notes = list(dict.fromkeys(note for file in files for note in file.notes))
    return NetworkFile(where, parts, files[0].spec, files[0].cur_nimg, files[0].origin, notes)
