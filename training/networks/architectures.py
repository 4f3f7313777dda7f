"""The architectures, by the `kind` of their options.

To add one, write its networks in a file of this package and its options in `config.py` beside it (which imports no
torch), name the options in the unions at the end of that file, and add a row here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from training.networks import msg_progan, msg_r3gan, msg_stylegan, stylegan
from training.networks.base import Discriminator, Generator
from training.networks.config import AnyDiscriminatorConfig, AnyGeneratorConfig
from training.spec import ImageSpec


class Architecture(NamedTuple):
    """The networks of an architecture, built from their options and an ImageSpec."""

    title: str
    G: Callable[[Any, ImageSpec], Generator]
    D: Callable[[Any, ImageSpec], Discriminator]


# The keys are the `kind` of options, also in config.json, checkpoints and snapshots: they never change.
ARCHITECTURES = {
    "msg_stylegan": Architecture("MSG-StyleGAN", msg_stylegan.Generator, msg_stylegan.Discriminator),
    "msg_progan": Architecture("MSG-ProGAN", msg_progan.Generator, msg_progan.Discriminator),
    "msg_r3gan": Architecture("MSG-R3GAN", msg_r3gan.Generator, msg_r3gan.Discriminator),
    # Opened, sampled and scored, but not trained.
    "stylegan": Architecture("StyleGAN", stylegan.Generator, stylegan.Discriminator),
}


def build_generator(cfg: AnyGeneratorConfig, spec: ImageSpec) -> Generator:
    """Return a generator with fresh weights; raise ValueError if the options do not go together."""
    return ARCHITECTURES[cfg.kind].G(cfg, spec)


def build_discriminator(cfg: AnyDiscriminatorConfig, spec: ImageSpec) -> Discriminator:
    """Return a discriminator with fresh weights; raise ValueError if the options do not go together."""
    return ARCHITECTURES[cfg.kind].D(cfg, spec)
