"""Snapshots written by `training.run.snapshot`."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from dnnlib.errors import UserError
from dnnlib.files import os_error
from pretrained.network_file import NetworkFile, Part, Stored, check_names
from training.config import from_dict
from training.networks.config import StoredDiscriminatorConfig, StoredGeneratorConfig
from training.run.snapshot import FORMAT, VERSION
from training.spec import ImageSpec

FLOATS = ("F32", "F16", "BF16", "F64")

# Networks of a snapshot, and what their options may be. Those of G_ema are those of G.
CONFIGS: dict[str, Any] = {"G": StoredGeneratorConfig, "D": StoredDiscriminatorConfig, "G_ema": StoredGeneratorConfig}


def load_snapshot(path: Path) -> NetworkFile:
    """Open a snapshot; raise UserError if the file is not a whole one of a known version."""
    metadata, tensors = _open(path)
    if FORMAT not in metadata:
        raise UserError(f"{path}: safetensors of another program, expected metadata `{FORMAT}`")

    # The name of a tensor begins with that of its network.
    check_names(tensors.keys(), {key for key in tensors if key.startswith(tuple(f"{n}." for n in CONFIGS))}, str(path))
    names = [name for name in CONFIGS if any(key.startswith(f"{name}.") for key in tensors)]
    if not names:
        raise UserError(f"{path}: no network in it, expected tensors of G, D or G_ema")

    # Everything else is in the metadata.
    try:
        facts = json.loads(metadata[FORMAT])
        if facts["version"] != VERSION:
            raise UserError(f"{path}: snapshot version {facts['version']}, expected {VERSION}")

        spec = from_dict(ImageSpec, facts["images"], "images")
        options = {name: from_dict(CONFIGS[name], facts[name.removesuffix("_ema")], name) for name in names}
        cur_nimg = facts["cur_nimg"] if facts["cur_nimg"] is None else int(facts["cur_nimg"])
    except KeyError as e:
        raise UserError(f"{path}: no {e} in the metadata, expected a snapshot of train.py") from e
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as e:
        raise UserError(f"{path}: metadata: {e}") from e

    # Each network checks that the tensors are those of its options.
    parts = {}
    for name, cfg in options.items():
        own = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
        parts[name] = Part(cfg, spec, own, f"{path}: {name}")
    return NetworkFile(str(path), parts, spec, cur_nimg, str(facts.get("origin", "")))


def _open(path: Path) -> tuple[dict[str, str], dict[str, Stored]]:
    """Return the metadata and the tensors, which stay unread."""
    tensors = {}
    try:
        file = safe_open(path, framework="pt")

        # Shapes and types are in the header.
        for key in file.keys():  # noqa: SIM118 - not a dict
            piece = file.get_slice(key)
            if piece.get_dtype() not in FLOATS:
                raise UserError(f"{path}: {key} is of type {piece.get_dtype()}, expected one of {', '.join(FLOATS)}")
            tensors[key] = Stored(tuple(piece.get_shape()), partial(_read, file, key))

        return file.metadata() or {}, tensors
    except OSError as e:
        raise os_error(e, path, "read") from e
    except SafetensorError as e:
        raise UserError(f"{path}: not a whole safetensors file ({e}), expected a snapshot of train.py") from e


def _read(file: Any, key: str) -> torch.Tensor:
    """Return a tensor of an open file as float32."""
    return file.get_tensor(key).float()  # type: ignore[no-any-return]
