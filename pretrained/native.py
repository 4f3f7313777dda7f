"""Snapshots written by `training.snapshot`."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from dnnlib.errors import UserError
from dnnlib.files import os_error
from pretrained.networks import Networks
from training.config import DiscriminatorConfig, GeneratorConfig, ImageSpec, from_dict
from training.networks.layers import Blur
from training.networks.msg_stylegan import Discriminator, Generator
from training.snapshot import FORMAT, VERSION


def load_snapshot(path: Path) -> Networks:
    """A snapshot as modules; UserError if the file is not a whole snapshot of a known version."""
    metadata, tensors = _read(path)
    if FORMAT not in metadata:
        raise UserError(f"{path}: safetensors of another program, expected metadata `{FORMAT}`")
    try:
        facts = json.loads(metadata[FORMAT])
        if facts["version"] != VERSION:
            raise UserError(f"{path}: snapshot version {facts['version']}, expected {VERSION}")
        if facts["kind"] != "msg_stylegan":
            raise UserError(f"{path}: network of kind {facts['kind']}, expected msg_stylegan")
        spec = from_dict(ImageSpec, facts["images"], "images")
        g_cfg = from_dict(GeneratorConfig, facts["G"], "G")
        d_cfg = from_dict(DiscriminatorConfig, facts["D"], "D")
        cur_nimg = int(facts["cur_nimg"])
    except KeyError as e:
        raise UserError(f"{path}: no {e} in the metadata, expected a snapshot of train.py") from e
    except (ValueError, TypeError, RecursionError) as e:
        raise UserError(f"{path}: metadata: {e}") from e
    nets: dict[str, Any] = {}
    for name in ("G", "D", "G_ema"):
        state = {k.removeprefix(f"{name}."): t for k, t in tensors.items() if k.startswith(f"{name}.")}
        if not state:
            nets[name] = None
            continue
        with torch.device("meta"):  # no time for initial weights that are replaced at once
            net = Discriminator(d_cfg, spec) if name == "D" else Generator(g_cfg, spec)
        _assign(net, state, path, name)
        nets[name] = net.eval().requires_grad_(False)
    return Networks(**nets, spec=spec, cur_nimg=cur_nimg)


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    if not path.exists():
        raise UserError(f"{path}: no such file, expected a network file")
    if path.is_dir():
        raise UserError(f"{path}: a folder, expected a network file such as network-snapshot-000020.safetensors")
    try:
        with safe_open(path, framework="pt") as f:
            return f.metadata() or {}, {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118 - not a dict
    except OSError as e:
        raise os_error(e, path, "read") from e
    except SafetensorError as e:
        raise UserError(f"{path}: not a whole safetensors file ({e}), expected a snapshot of train.py") from e


def _assign(net: torch.nn.Module, state: dict[str, torch.Tensor], path: Path, name: str) -> None:
    """Put every tensor of the file into the network, strictly."""
    expected = net.state_dict()
    for what, keys in (("missing", expected.keys() - state.keys()), ("unknown", state.keys() - expected.keys())):
        if keys:
            raise UserError(f"{path}: snapshot of another architecture: {what} tensor {name}.{min(keys)}")
    for key, tensor in state.items():
        if tensor.shape != expected[key].shape:
            raise UserError(
                f"{path}: snapshot of another architecture: {name}.{key} is {list(tensor.shape)}, "
                f"expected {list(expected[key].shape)}"
            )
    net.load_state_dict(state, assign=True)
    for module in net.modules():
        if isinstance(module, Blur):
            module.reset_buffers()
