"""Weights saved by BMSG-GAN's train.py: GAN_GEN_*.pth, GAN_GEN_SHADOW_*.pth, GAN_DIS_*.pth, one network a file."""

import math
import pickle
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.files import os_error
from dnnlib.pickles import read_torch
from pretrained.network_file import NetworkFile, Part, Row, layer_rows, translate
from training.networks.base import Generator
from training.networks.config import ProGANDiscriminatorConfig, ProGANGeneratorConfig, progan_nf
from training.spec import ImageSpec

ORIGIN = "BMSG-GAN"


def _deconv(w: np.ndarray) -> np.ndarray:
    """Turn a transposed convolution of a 1x1 image [in,out,4,4] into a dense layer [out*16,in]."""
    return w.transpose(1, 2, 3, 0).reshape(-1, w.shape[0])


def _flat(w: np.ndarray) -> np.ndarray:
    """Turn a convolution of the whole map [out,in,k,k] into a dense layer [out,in*k*k]."""
    return w.reshape(w.shape[0], -1)


def _image_last(w: np.ndarray, n: int) -> np.ndarray:
    """Swap the first n input channels of a kernel, which in theirs are those of the image, with the next n."""
    return np.concatenate([w[:, n : 2 * n], w[:, :n], w[:, 2 * n :]], 1)


# The tables below name every tensor. G numbers its blocks (layers) and its converters of features to images
# (rgb_converters) from 4x4 up. D numbers its blocks (layers) and its converters of images to features (rgb_to_features)
# from 8x8 up, and those of 4x4 are apart (final_block, final_converter).


def generator_table(spec: ImageSpec) -> list[Row]:
    """Return a row for every tensor of a generator."""
    rows = []
    for i, r in enumerate(spec.resolutions):
        # The first convolution of the 4x4 block turns z, as an image of one pixel, into 4x4 pixels.
        source = ("source.fc.weight", _deconv) if r == 4 else ("source.weight", np.asarray)
        rows.append(Row(f"synthesis.b{r}.{source[0]}", f"layers.{i}.conv_1.weight", source[1]))
        rows.append(Row(f"synthesis.b{r}.bias", f"layers.{i}.conv_1.bias"))
        rows += layer_rows(f"synthesis.b{r}.conv", f"layers.{i}.conv_2.")
        rows += layer_rows(f"synthesis.torgb{r}", f"rgb_converters.{i}.")
    return rows


def generator_weights(G: Generator, where: str) -> dict[str, torch.Tensor]:
    """Return the weights of a generator as BMSG-GAN's generate_samples.py loads them.

    Raises UserError, headed `where`, unless G is a network that this script builds.
    """
    cfg, spec = G.cfg, G.spec
    is_known = isinstance(cfg, ProGANGeneratorConfig) and cfg.use_wscale and not spec.c_dim
    if not is_known or spec.channels != 3 or spec.sizes[0] != (4, 4):
        raise UserError(
            f"{where}: BMSG-GAN has no such networks, expected MSG-ProGAN with equalised layers, colours, no classes, "
            "and squares of 2^k pixels"
        )

    ours = G.state_dict()
    theirs = {}
    for row in generator_table(G.spec):
        tensor = ours[row.ours].detach().float().cpu()
        if row.transform is _deconv:
            # A dense layer [out*16,in] becomes a transposed convolution [in,out,4,4].
            tensor = tensor.reshape(-1, 4, 4, tensor.shape[1]).permute(3, 0, 1, 2)

        # Their script wraps the network in DataParallel, on a CPU as well.
        theirs[f"module.{row.theirs}"] = tensor.contiguous()
    return theirs


def discriminator_table(cfg: ProGANDiscriminatorConfig, spec: ImageSpec) -> list[Row]:
    """Return a row for every tensor of a discriminator."""
    rows = [*layer_rows("b4.fc0", "final_block.conv_2.", _flat), *layer_rows("b4.fc1", "final_block.conv_3.", _flat)]
    for level, r in enumerate(spec.resolutions):
        i = level - 1
        is_top = r == spec.resolution
        rgb, block = (f"rgb_to_features.{i}.", f"layers.{i}.") if r > 4 else ("final_converter.", "final_block.")
        rows += layer_rows(f"b{r}.fromrgb" if is_top else f"b{r}.combine.conv", rgb)

        # Below the top, features of the image are merged with those of the block above.
        image_last = partial(_image_last, n=max(1, progan_nf(cfg.features, level) // 2))
        rows += layer_rows(f"b{r}.conv0", f"{block}conv_1.", np.asarray if is_top else image_last)
        if r > 4:
            rows += layer_rows(f"b{r}.conv1", f"{block}conv_2.")
    return rows


def load_bmsg_gan(path: Path) -> NetworkFile:
    """Open the network of a .pth file, zip or older container; raise UserError if it holds none."""
    arrays = _read(path)

    # The converters tell the resolution, and G from D. Only the file name tells G from its shadow.
    depth = len([key for key in arrays if re.fullmatch(r"rgb_(converters|to_features)\.\d+\.weight", key)])
    try:
        use_wscale = _is_equalised(arrays)
        if "rgb_converters.0.weight" in arrays:
            role = "G_ema" if "SHADOW" in path.name.upper() else "G"
            spec = ImageSpec(resolution=2 ** (depth + 1), channels=len(arrays["rgb_converters.0.weight"]))
            cfg: Any = ProGANGeneratorConfig(z_dim=len(arrays["layers.0.conv_1.weight"]), use_wscale=use_wscale)
            table = generator_table(spec)
        else:
            role = "D"
            spec = ImageSpec(resolution=2 ** (depth + 2), channels=arrays["final_converter.weight"].shape[1])
            cfg = ProGANDiscriminatorConfig(features=len(arrays["final_block.conv_2.weight"]), use_wscale=use_wscale)
            table = discriminator_table(cfg, spec)
    except (KeyError, ValueError, IndexError, OverflowError, TypeError) as e:
        raise UserError(
            f"{path}: weights of some PyTorch network, but not a generator or discriminator of BMSG-GAN ({e})"
        ) from e

    part = Part(cfg, spec, translate(table, arrays, str(path)), str(path))

    # These are guesses, so the user should know of them.
    notes = [f"{'equalised' if use_wscale else 'plain'} convolutions, going by the size of the weights"]
    if epoch := re.search(r"_(\d+)\.pth$", path.name):
        notes.insert(0, f"epoch {epoch[1]}, going by the file name")
    return NetworkFile(str(path), {role: part}, spec, None, ORIGIN, notes)


def _is_equalised(arrays: dict[str, np.ndarray]) -> bool:
    """Return whether the 3x3 kernels are those of equalised layers, judged by their size.

    Equalised layers start from N(0,1), others from torch's default, uniform in +-1/sqrt(fan_in). Training moves them
    far less than the factor of at least 5 between the two.
    """
    votes = 0.0
    for name, kernel in arrays.items():
        if re.fullmatch(r"layers\.\d+\.conv_2\.weight", name) and kernel.ndim == 4:
            rms = math.sqrt(float(np.square(kernel, dtype=np.float64).mean())) + 1e-12

            # Positive above the geometric mean of both rms values, 1 and 1/sqrt(3 fan_in).
            votes += math.log(rms) + math.log(3 * kernel[0].size) / 4
    return votes > 0


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a .pth as arrays, without the `module.` of DataParallel in their names; run no code."""
    try:
        content = read_torch(path)
    except OSError as e:
        raise os_error(e, path, "read") from e
    except Exception as e:
        # Torch's readers raise nearly anything that a damaged file makes them meet.
        if asked := re.search(r"GLOBAL (\S+) ", str(e)):
            raise UserError(f"{path}: refused: the file asks for {asked[1]}, which weights do not need") from e

        # The text of an UnpicklingError goes on to recommend opening the file unsafely.
        reason = "it does not hold plain weights" if isinstance(e, pickle.UnpicklingError) else f"{e!r:.200}"
        raise UserError(f"{path}: damaged, or not weights as torch.save writes them: {reason}") from e

    # Is it one network?
    if isinstance(content, dict) and "architecture" in content:
        raise UserError(f"{path}: a checkpoint of train.py (for --resume), expected a network file")
    if not isinstance(content, dict) or not all(isinstance(t, torch.Tensor) for t in content.values()) or not content:
        raise UserError(f"{path}: a PyTorch file, but not weights of one network, expected GAN_GEN_*.pth or the like")

    # Are its tensors what they seem?
    for name, t in content.items():
        if t.layout != torch.strided or t.device.type != "cpu" or not t.is_floating_point():
            raise UserError(f"{path}: {name} is not a plain tensor of real numbers")
    if sum(t.numel() * t.element_size() for t in content.values()) > path.stat().st_size:
        raise UserError(f"{path}: its tensors claim more than the file holds")

    # Runs on several GPUs put `module.` before the names of a network or of its blocks.
    arrays = {re.sub(r"(^|\.)module\.", r"\1", str(k)): t.detach().float().numpy() for k, t in content.items()}
    if len(arrays) != len(content):
        raise UserError(f"{path}: some tensors are there twice, with and without `module.`")
    return arrays
