"""The architectures, by the `kind` of their configs. To add one: its file, its configs, a row here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from training.networks import msg_progan, msg_stylegan, stylegan
from training.networks.base import Discriminator, Generator
from training.networks.config import (
    AnyDiscriminatorConfig,
    AnyGeneratorConfig,
    DiscriminatorConfig,
    GeneratorConfig,
    ImageSpec,
    ProGANDiscriminatorConfig,
    ProGANGeneratorConfig,
    StyleGANDiscriminatorConfig,
    StyleGANGeneratorConfig,
)


class Architecture(NamedTuple):
    """Network classes and what configures them."""

    title: str
    G: Callable[[Any, ImageSpec], Generator]
    D: Callable[[Any, ImageSpec], Discriminator]
    G_config: type[AnyGeneratorConfig]
    D_config: type[AnyDiscriminatorConfig]


ARCHITECTURES = {
    "msg_stylegan": Architecture(
        "MSG-StyleGAN", msg_stylegan.Generator, msg_stylegan.Discriminator, GeneratorConfig, DiscriminatorConfig
    ),
    "msg_progan": Architecture(
        "MSG-ProGAN", msg_progan.Generator, msg_progan.Discriminator, ProGANGeneratorConfig, ProGANDiscriminatorConfig
    ),
    "stylegan": Architecture(
        "StyleGAN", stylegan.Generator, stylegan.Discriminator, StyleGANGeneratorConfig, StyleGANDiscriminatorConfig
    ),
}


def build_generator(cfg: AnyGeneratorConfig, spec: ImageSpec) -> Generator:
    """A generator with fresh weights; ValueError if the options do not go together."""
    return ARCHITECTURES[cfg.kind].G(cfg, spec)


def build_discriminator(cfg: AnyDiscriminatorConfig, spec: ImageSpec) -> Discriminator:
    """A discriminator with fresh weights; ValueError if the options do not go together."""
    return ARCHITECTURES[cfg.kind].D(cfg, spec)
