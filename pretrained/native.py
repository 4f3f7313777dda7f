"""Snapshots written by `training.run.snapshot`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from dnnlib.errors import UserError
from dnnlib.files import os_error
from pretrained.network_file import NetworkFile, Part, Stored
from training.config import from_dict
from training.networks.config import StoredDiscriminatorConfig, StoredGeneratorConfig
from training.run.snapshot import FORMAT, VERSION
from training.spec import ImageSpec

FLOATS = ("F32", "F16", "BF16", "F64")


def load_snapshot(path: Path) -> NetworkFile:
    """Open a snapshot; raise UserError if the file is not a whole one of a known version."""
    metadata, tensors = _open(path)
    if FORMAT not in metadata:
        raise UserError(f"{path}: safetensors of another program, expected metadata `{FORMAT}`")

    try:
        facts = json.loads(metadata[FORMAT])
        if facts["version"] != VERSION:
            raise UserError(f"{path}: snapshot version {facts['version']}, expected {VERSION}")
        spec = from_dict(ImageSpec, facts["images"], "images")
        options: dict[str, Any] = {"G": StoredGeneratorConfig, "D": StoredDiscriminatorConfig}
        configs = {k: None if facts[k] is None else from_dict(options[k], facts[k], k) for k in options}
        cur_nimg = facts["cur_nimg"] if facts["cur_nimg"] is None else int(facts["cur_nimg"])
        origin = str(facts.get("origin", ""))
    except KeyError as e:
        raise UserError(f"{path}: no {e} in the metadata, expected a snapshot of train.py") from e
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as e:
        raise UserError(f"{path}: metadata: {e}") from e

    # The name of a tensor begins with that of its network.
    parts = {}
    known = ("G", "D", "G_ema")
    if foreign := {k for k in tensors if not k.startswith(tuple(f"{name}." for name in known))}:
        raise UserError(f"{path}: unknown tensor {min(foreign)}, expected G., D. and G_ema.")

    for name in known:
        own = {k.removeprefix(f"{name}."): t for k, t in tensors.items() if k.startswith(f"{name}.")}
        if own:
            cfg = configs[name.removesuffix("_ema")]
            if cfg is None:
                raise UserError(f"{path}: tensors of {name}, but no options of it in the metadata")
            parts[name] = Part(cfg, spec, own, f"{path}: {name}")

    if not parts:
        raise UserError(f"{path}: no network in it, expected tensors of G, D or G_ema")
    return NetworkFile(str(path), parts, spec, cur_nimg, origin)


def _open(path: Path) -> tuple[dict[str, str], dict[str, Stored]]:
    """Return the metadata and the tensors, which stay unread."""
    try:
        f = safe_open(path, framework="pt")
        pieces = {k: f.get_slice(k) for k in f.keys()}  # noqa: SIM118 - not a dict
        for key, piece in pieces.items():
            if piece.get_dtype() not in FLOATS:
                raise UserError(f"{path}: {key} is of type {piece.get_dtype()}, expected one of {', '.join(FLOATS)}")
        return f.metadata() or {}, {k: Stored(tuple(p.get_shape()), _reader(f, k)) for k, p in pieces.items()}
    except OSError as e:
        raise os_error(e, path, "read") from e
    except SafetensorError as e:
        raise UserError(f"{path}: not a whole safetensors file ({e}), expected a snapshot of train.py") from e


def _reader(f: Any, key: str) -> Callable[[], torch.Tensor]:
    return lambda: f.get_tensor(key).float()
