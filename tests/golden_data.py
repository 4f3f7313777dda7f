"""The golden files of the original MSG-StyleGAN, as networks and tensors."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.tf_names import discriminator_key, from_tf, generator_key
from training.config import DiscriminatorConfig, GeneratorConfig, ImageSpec
from training.networks.msg_stylegan import Discriminator, Generator

GOLDEN = Path(__file__).parent / "golden"
CONFIGS = ["c1", "c2", "c3", "c4", "c5", "c8"]

_NAMES = {
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "normalize_latents": "normalize_z",
    "nonlinearity": "activation",
    "mapping_nonlinearity": "mapping_activation",
    "const_input_layer": "use_const_input",
}
_NOT_NETWORK = {"num_channels", "resolution", "label_size", "style_mixing_prob"}


def options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """TF static kwargs -> fields of our configs."""
    out = {_NAMES.get(k, k): v for k, v in kwargs.items() if k not in _NOT_NETWORK}
    if "fused_scale" in out:
        out["fused_scale"] = str(out["fused_scale"]).lower()
    if "blur_filter" in out:
        out["blur_filter"] = tuple(out["blur_filter"] or ())
    if out.get("truncation_psi", 0) is None:
        out["truncation_psi"] = 1.0
    return out


class Golden:
    """One golden file; `x[key]` is a tensor."""

    def __init__(self, name: str) -> None:
        with np.load(GOLDEN / f"{name}.npz") as f:
            self.arrays = {k: f[k] for k in f.files}
        self.meta = json.loads(str(self.arrays["meta_json"]))
        kwargs = self.meta["G_static_kwargs"]
        self.spec = ImageSpec(
            resolution=kwargs["resolution"], channels=kwargs["num_channels"], c_dim=kwargs["label_size"]
        )

    def __getitem__(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[key])

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def pyramid(self, prefix: str) -> tuple[torch.Tensor, ...]:
        return tuple(self[f"{prefix}_{r}"] for r in self.spec.resolutions)

    def networks(self) -> tuple[Generator, Discriminator]:
        """Fresh G and D with the file's variables; strict both ways."""
        G = Generator(GeneratorConfig(**options(self.meta["G_static_kwargs"])), self.spec)
        d_options = options(self.meta["D_static_kwargs"])
        d_options.pop("fused_scale", None)  # both forms are equal in D
        D = Discriminator(DiscriminatorConfig(**d_options), self.spec)
        G.load_state_dict(self.state("G/", generator_key), strict=True)
        D.load_state_dict(self.state("D/", discriminator_key), strict=True)
        return G, D

    def state(self, prefix: str, rename: Any) -> dict[str, torch.Tensor]:
        named = {k[len(prefix) :]: v for k, v in self.arrays.items() if k.startswith(prefix)}
        keys = {name: rename(name, self.spec.resolution) for name in named}
        return {keys[n]: from_tf(keys[n], v) for n, v in named.items()}


@cache
def golden(name: str) -> Golden:
    return Golden(name)


def assert_close(actual: torch.Tensor, expected: torch.Tensor, limit: float, what: str = "") -> None:
    """max |difference| <= limit * max |expected|."""
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} != {tuple(expected.shape)}"
    worst = (actual.double() - expected.double()).abs().max().item()
    scale = expected.double().abs().max().item()
    assert worst <= limit * max(scale, 1e-12), f"{what}: off by {worst / max(scale, 1e-12):.2e} of the largest value"
