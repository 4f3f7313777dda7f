"""Weights saved by BMSG-GAN's train.py: GAN_GEN_*.pth, GAN_GEN_SHADOW_*.pth, GAN_DIS_*.pth, one network a file."""

import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib.errors import UserError
from pretrained.network_file import NetworkFile, Part, Row, same, translate
from training.networks.config import ProGANDiscriminatorConfig, ProGANGeneratorConfig, progan_nf
from training.spec import ImageSpec

ORIGIN = "BMSG-GAN"


def _deconv(w: np.ndarray) -> np.ndarray:
    """Turn a transposed convolution of a 1x1 image [in,out,4,4] into a dense layer [out*16,in]."""
    return w.transpose(1, 2, 3, 0).reshape(-1, w.shape[0])


def _flat(w: np.ndarray) -> np.ndarray:
    """Turn a convolution of the whole map [out,in,k,k] into a dense layer [out,in*k*k]."""
    return w.reshape(w.shape[0], -1)


def generator_table(spec: ImageSpec) -> list[Row]:
    """Return a row for every tensor of a generator."""
    rows = []
    for i, r in enumerate(spec.resolutions):
        first = Row("synthesis.b4.source.fc.weight", "layers.0.conv_1.weight", _deconv)
        rows.append(Row(f"synthesis.b{r}.source.weight", f"layers.{i}.conv_1.weight") if i else first)
        rows.append(Row(f"synthesis.b{r}.bias", f"layers.{i}.conv_1.bias"))
        for kind in ("weight", "bias"):
            rows.append(Row(f"synthesis.b{r}.conv.{kind}", f"layers.{i}.conv_2.{kind}"))
            rows.append(Row(f"synthesis.torgb{r}.{kind}", f"rgb_converters.{i}.{kind}"))
    return rows


def discriminator_table(cfg: ProGANDiscriminatorConfig, spec: ImageSpec) -> list[Row]:
    """List every tensor of a discriminator. Where maps are merged, theirs has the image first, ours last."""
    rows = []
    for r in spec.resolutions:
        top, n = r == spec.resolution, max(1, progan_nf(cfg.features, r) // 2)

        def image_last(w: np.ndarray, n: int = n) -> np.ndarray:
            return np.concatenate([w[:, n : 2 * n], w[:, :n], w[:, 2 * n :]], 1)

        i = int(math.log2(r)) - 3
        rgb = f"rgb_to_features.{i}" if r > 4 else "final_converter"
        block = f"layers.{i}" if r > 4 else "final_block"
        ours = f"b{r}.fromrgb" if top else f"b{r}.combine.conv"
        rows += [Row(f"{ours}.weight", f"{rgb}.weight"), Row(f"{ours}.bias", f"{rgb}.bias")]
        rows.append(Row(f"b{r}.conv0.weight", f"{block}.conv_1.weight", same if top else image_last))
        rows.append(Row(f"b{r}.conv0.bias", f"{block}.conv_1.bias"))
        for name, child in {"conv_2": "conv1"}.items() if r > 4 else {"conv_2": "fc0", "conv_3": "fc1"}.items():
            rows.append(Row(f"b{r}.{child}.weight", f"{block}.{name}.weight", same if r > 4 else _flat))
            rows.append(Row(f"b{r}.{child}.bias", f"{block}.{name}.bias"))
    return rows


def load_bmsg_gan(path: Path) -> NetworkFile:
    """Open the network of a .pth file, zip or older container; raise UserError if it holds none."""
    arrays = _read(path)
    weights = {k: v for k, v in arrays.items() if re.fullmatch(r"layers\.\d+\.conv_2\.weight", k) and v.ndim == 4}

    # Only a generator has converters to RGB; how many tells the resolution.
    depth = len([k for k in arrays if re.fullmatch(r"rgb_converters\.\d+\.weight", k)])
    try:
        if depth:
            latent, channels = len(arrays["layers.0.conv_1.weight"]), len(arrays["rgb_converters.0.weight"])
            spec = ImageSpec(resolution=2 ** (depth + 1), channels=channels)
            cfg: Any = ProGANGeneratorConfig(z_dim=latent, use_wscale=_is_equalised(weights))
            table = generator_table(spec)
        else:
            depth = 1 + len([k for k in arrays if re.fullmatch(r"rgb_to_features\.\d+\.weight", k)])
            features, channels = len(arrays["final_block.conv_2.weight"]), arrays["final_converter.weight"].shape[1]
            spec = ImageSpec(resolution=2 ** (depth + 1), channels=channels)
            cfg = ProGANDiscriminatorConfig(features=features, use_wscale=_is_equalised(weights))
            table = discriminator_table(cfg, spec)
    except (KeyError, ValueError, IndexError, OverflowError, TypeError) as e:
        raise UserError(
            f"{path}: weights of some PyTorch network, but not a generator or discriminator of BMSG-GAN ({e})"
        ) from e

    role = "D" if isinstance(cfg, ProGANDiscriminatorConfig) else "G"
    part = Part(cfg, spec, translate(table, arrays, str(path)), str(path))
    if role == "G" and "SHADOW" in path.name.upper():  # the only sign: both generators have the same form
        role = "G_ema"

    notes = []
    if epoch := re.search(r"_(\d+)\.pth$", path.name):
        notes.append(f"epoch {epoch[1]}, going by the file name")
    rate = "equalised" if cfg.use_wscale else "plain"
    notes.append(f"{rate} convolutions, going by the size of the weights")
    return NetworkFile(str(path), {role: part}, spec, None, ORIGIN, notes)


def _is_equalised(weights: dict[str, np.ndarray]) -> bool:
    """Are the 3x3 kernels nearer to N(0,1), from which equalised layers start, than to torch's default, uniform in
    +-1/sqrt(fan_in)? Training moves them far less than the factor of at least 5 between the two."""
    votes = 0.0
    for w in weights.values():
        fan_in = w[0].size
        rms = math.sqrt(float(np.square(w, dtype=np.float64).mean())) + 1e-12
        votes += math.log(rms) + math.log(3 * fan_in) / 4  # > 0: above the geometric mean of 1 and 1/sqrt(3 fan_in)
    return votes > 0


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a .pth as arrays, without the `module.` of DataParallel in their names; run no code."""
    size = path.stat().st_size

    # Stored as they are, tensors cannot be larger than the file.
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as z:
                if sum(i.file_size for i in z.infolist()) > size:
                    raise UserError(f"{path}: compressed, expected a .pth as torch.save writes it")
                if bad := z.testzip():
                    raise UserError(f"{path}: damaged: wrong checksum of {bad}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as e:
        raise UserError(f"{path}: cannot read: {e.strerror or e}") from e
    except Exception as e:  # torch's readers raise what they meet in a damaged file: nearly anything
        if asked := re.search(r"GLOBAL (\S+) ", str(e)):
            raise UserError(f"{path}: refused: the file asks for {asked[1]}, which weights do not need") from e
        reason = (str(e).strip().splitlines() or [type(e).__name__])[0]
        if isinstance(e, pickle.UnpicklingError):  # its text goes on to recommend opening the file unsafely
            reason = "it does not hold plain weights"
        raise UserError(f"{path}: damaged, or not weights as torch.save writes them: {reason[:200]}") from e

    if isinstance(content, dict) and "architecture" in content:
        raise UserError(f"{path}: a checkpoint of train.py (for --resume), expected a network file")
    if not isinstance(content, dict) or not all(isinstance(t, torch.Tensor) for t in content.values()) or not content:
        raise UserError(f"{path}: a PyTorch file, but not weights of one network, expected GAN_GEN_*.pth or the like")

    for name, t in content.items():
        if t.layout != torch.strided or t.device.type != "cpu" or not t.is_floating_point():
            raise UserError(f"{path}: {name} is not a plain tensor of real numbers")
    if sum(t.numel() * t.element_size() for t in content.values()) > size:
        raise UserError(f"{path}: its tensors claim more than the file holds")

    arrays = {re.sub(r"(^|\.)module\.", r"\1", str(k)): t.detach().float().numpy() for k, t in content.items()}
    if len(arrays) != len(content):
        raise UserError(f"{path}: some tensors are there twice, with and without `module.`")
    return arrays
