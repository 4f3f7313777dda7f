"""Network pickles of TensorFlow 1: msg-stylegan-tf, and the plain StyleGAN that it grew out of (NVIDIA 2019)."""

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from dnnlib.errors import UserError, printable
from dnnlib.pickles import Record, read_pickle
from pretrained.network_file import NetworkFile, Part, Row, same, translate
from training.config import from_dict
from training.networks.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    StyleGANDiscriminatorConfig,
    StyleGANGeneratorConfig,
)
from training.spec import ImageSpec

MSG_STYLEGAN, STYLEGAN = "msg-stylegan-tf", "StyleGAN (NVIDIA 2019, TensorFlow)"  # who wrote a file
ROLES = {"G": "G", "D": "D", "Gs": "G_ema"}

# Their keyword arguments -> our options, where the names differ.
RENAMED = {
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "normalize_latents": "normalize_z",
    "nonlinearity": "activation",
    "mapping_nonlinearity": "mapping_activation",
    "const_input_layer": "use_const_input",
    "dlatent_avg_beta": "w_avg_beta",
}
# Keyword arguments that say something about the images, about how networks were run, or nothing.
NOT_OPTIONS = {
    "num_channels", "resolution", "label_size", "style_mixing_prob", "truncation_psi_val", "truncation_cutoff_val",
    "structure", "dtype", "randomize_noise", "is_training", "is_validation", "is_template_graph", "dlatent_broadcast",
}  # fmt: skip


def options(kwargs: dict[str, Any], config: Any) -> tuple[dict[str, Any], list[str]]:
    """Translate the static kwargs of a network into fields of our config as `from_dict` takes them.

    Return those, and the names of the kwargs that are unknown.
    """
    defaults = {f.name: f.default for f in fields(config)}
    out: dict[str, Any] = {}
    unknown = []
    for name, value in kwargs.items():
        ours = RENAMED.get(name, name)
        if ours in defaults or ours == "fused_scale":
            out[ours] = _as(type(defaults.get(ours)), value)
        elif name not in NOT_OPTIONS:
            unknown.append(name)

    if "fused_scale" in out:
        out["fused_scale"] = str(out["fused_scale"]).lower()
    if not issubclass(config, GeneratorConfig):
        out.pop("fused_scale", None)  # both forms are equal in D
    if "blur_filter" in out:
        out["blur_filter"] = [_as(int, x) for x in out["blur_filter"] or ()]

    # Theirs switch a thing off by None or 0.
    if out.get("w_avg_beta", 0) is None:
        out["w_avg_beta"] = 1.0
    if out.get("truncation_psi", 0) is None or ("truncation_cutoff" in out and not out["truncation_cutoff"]):
        out["truncation_psi"] = 1.0  # switched off
        out.pop("truncation_cutoff", None)
    if out.get("mbstd_group_size", 2) <= 1:
        out.update(mbstd_group_size=1, mbstd_num_features=0)  # switched off

    return out, unknown


def _as(kind: type, value: Any) -> Any:
    """Return `value` as TensorFlow understood it, which took 64.0 for a whole number and 1 for true."""
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return bool(value) if kind is bool and value in (0, 1) else value


def _conv(x: np.ndarray) -> np.ndarray:
    """[kh,kw,in,out] -> [out,in,kh,kw]."""
    return x.transpose(3, 2, 0, 1)


def _dense(x: np.ndarray) -> np.ndarray:
    """[in,out] -> [out,in]."""
    return x.transpose(1, 0)


def generator_table(cfg: GeneratorConfig, spec: ImageSpec) -> list[Row]:
    """Return a row for every tensor of G and Gs, of either architecture."""
    rows = [Row("mapping.w_avg", "dlatent_avg")]
    if spec.c_dim:
        rows.append(Row("mapping.label_weight", "G_mapping/LabelConcat/weight"))
    for i in range(cfg.mapping_layers):
        rows.append(Row(f"mapping.fc{i}.weight", f"G_mapping/Dense{i}/weight", _dense))
        rows.append(Row(f"mapping.fc{i}.bias", f"G_mapping/Dense{i}/bias"))

    for level, r in enumerate(spec.resolutions):
        if r > 4:
            names, source = ("Conv0_up", "Conv1"), ("source.weight", "weight", _conv)
        elif cfg.use_const_input:
            names, source = ("Const", "Conv"), ("source.const", "const", same)
        else:
            names, source = ("Dense", "Conv"), ("source.fc.weight", "weight", _dense)
        for i, (name, (key, variable, layout)) in enumerate(
            zip(names, (source, ("source.weight", "weight", _conv)), strict=True)
        ):
            ours, theirs = f"synthesis.b{r}.layer{i}", f"G_synthesis/{r}x{r}/{name}"
            rows += [Row(f"{ours}.{key}", f"{theirs}/{variable}", layout), Row(f"{ours}.bias", f"{theirs}/bias")]
            if cfg.use_noise:
                rows.append(Row(f"{ours}.noise_strength", f"{theirs}/Noise/weight"))
                rows.append(Row(f"{ours}.noise_const", f"G_synthesis/noise{2 * level + i}"))
            if cfg.use_styles:
                rows.append(Row(f"{ours}.style.weight", f"{theirs}/StyleMod/weight", _dense))
                rows.append(Row(f"{ours}.style.bias", f"{theirs}/StyleMod/bias"))
        lod = len(spec.resolutions) - 1 - level
        rows.append(Row(f"synthesis.torgb{r}.weight", f"G_synthesis/ToRGB_lod{lod}/weight", _conv))
        rows.append(Row(f"synthesis.torgb{r}.bias", f"G_synthesis/ToRGB_lod{lod}/bias"))
    if cfg.kind == "stylegan":
        rows.append(Row("synthesis.lod", "lod"))
    return rows


def discriminator_table(cfg: DiscriminatorConfig | StyleGANDiscriminatorConfig, spec: ImageSpec) -> list[Row]:
    """Return a row for every tensor of D, of either architecture."""
    rows = []
    for level, r in enumerate(spec.resolutions):
        layers = {"conv0": "Conv0", "conv1": "Conv1_down"} if r > 4 else {"conv0": "Conv"}
        for ours, theirs in layers.items():
            rows.append(Row(f"b{r}.{ours}.weight", f"{r}x{r}/{theirs}/weight", _conv))
            rows.append(Row(f"b{r}.{ours}.bias", f"{r}x{r}/{theirs}/bias"))
        lod = len(spec.resolutions) - 1 - level
        if lod == 0 or cfg.kind == "stylegan":
            rows.append(Row(f"b{r}.fromrgb.weight", f"FromRGB_lod{lod}/weight", _conv))
            rows.append(Row(f"b{r}.fromrgb.bias", f"FromRGB_lod{lod}/bias"))
        else:
            rows.append(Row(f"b{r}.combine.conv.weight", f"{r}x{r}/combine/weight", _conv))
    for i in (0, 1):
        rows.append(Row(f"b4.fc{i}.weight", f"4x4/Dense{i}/weight", _dense))
        rows.append(Row(f"b4.fc{i}.bias", f"4x4/Dense{i}/bias"))
    if cfg.kind == "stylegan":
        rows.append(Row("lod", "lod"))
    return rows


def load_tf(path: Path) -> NetworkFile:
    """Open the networks of a TF1 pickle: a (G, D, Gs) triple or one of them.

    Raise UserError if it holds none; unknown keyword arguments are named in a warning.
    """
    content = read_pickle(path)
    records: Sequence[Any] = content if isinstance(content, tuple | list) else [content]
    if not records or not all(isinstance(r, Record) for r in records):
        raise UserError(f"{path}: a pickle, but not of networks, expected the (G, D, Gs) of a network-*.pkl")

    parts: dict[str, Part] = {}
    spec = None
    for record in records:
        try:
            role, part = _part(record.state, path)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as e:
            raise UserError(f"{path}: not a whole network pickle: {e!r}") from e
        if role in parts:
            raise UserError(f"{path}: two networks are called {record.state['name']}")
        if spec and part.spec != spec:
            raise UserError(f"{path}: its networks are for different images, {part.spec} and {spec}")
        parts[role], spec = part, part.spec

    # Variables may share an array, and all of them become float32.
    values = sum(math.prod(t.shape) for part in parts.values() for t in part.tensors.values())
    if 4 * values > 2 * path.stat().st_size + 2**20:
        raise UserError(f"{path}: its variables claim {values:,} values, more than the file holds")

    assert spec
    plain = next(iter(parts.values())).cfg.kind == "stylegan"
    origin = STYLEGAN if plain else MSG_STYLEGAN

    named = re.search(r"network-snapshot-(\d+)", path.name)
    lods = {part.tensors[key].read().item() for part in parts.values() for key in part.tensors if key.endswith("lod")}
    notes = [f"of mid-growth, lod {lod:g}: its images are blended from two scales" for lod in lods if lod > 0]
    return NetworkFile(str(path), parts, spec, int(named[1]) * 1000 if named else None, origin, notes)


def _part(state: dict[str, Any], path: Path) -> tuple[str, Part]:
    name, version = _checked(state["name"], str), _checked(state["version"], int)
    if version not in (2, 3):
        project = "StyleGAN2 (TensorFlow)" if version > 3 else "an unknown program"
        raise UserError(
            f"{path}: a network of version {version}, of {project}, which is not supported: expected 2 or 3"
        )
    if name not in ROLES:
        raise UserError(f"{path}: a network called {name}, expected G, D or Gs")

    kwargs = {k: _plain(v) for k, v in _checked(state["static_kwargs"], dict).items()}
    arrays = _variables(state)
    where = f"{path}: {name}"
    plain = "lod" in arrays

    config: Any
    if name == "D":
        config, images = StyleGANDiscriminatorConfig if plain else DiscriminatorConfig, (32, 1)
    else:
        config, images = StyleGANGeneratorConfig if plain else GeneratorConfig, (1024, 3)
    options_, unknown = options(kwargs, config)
    if unknown:
        warnings.warn(printable(f"{where}: ignored unknown options {', '.join(unknown)}"), stacklevel=2)

    try:
        spec = ImageSpec(
            resolution=int(kwargs.get("resolution", images[0])),
            channels=int(kwargs.get("num_channels", images[1])),
            c_dim=int(kwargs.get("label_size", 0)),
        )
        cfg = from_dict(config, options_, where)
    except ValueError as e:
        raise UserError(str(e) if str(e).startswith(where) else f"{where}: {e}") from e

    table = discriminator_table(cfg, spec) if name == "D" else generator_table(cfg, spec)
    if plain and kwargs.get("structure") == "fixed":  # the one that does not look at lod
        arrays["lod"] = np.zeros((), np.float32)
    tensors = translate(table, arrays, where, optional=["G_synthesis/lod"] if plain else [])  # G's own lod wins
    return ROLES[name], Part(cfg, spec, tensors, where)


def _checked(value: Any, kind: Any) -> Any:
    """Return `value` if it is of the type that networks have there, before anything walks through nested objects."""
    if type(value) is not kind:
        raise TypeError(f"found {type(value).__name__}, expected {kind.__name__}")
    if (kind is int and abs(value) > 2**63) or (kind is str and len(value) > 200):
        raise ValueError(f"found a {kind.__name__} beyond all reason")
    return value


def _plain(value: Any) -> Any:
    """Return an option as Python's number, word, None, or short list of numbers."""
    if isinstance(value, np.ndarray) and value.size <= 16:
        return value.tolist()
    if isinstance(value, list | tuple):
        if len(value) > 16:
            raise TypeError("an option that is a long list")
        return [_checked(x, float if type(x) is float else int) for x in value]
    if value is None or type(value) in (bool, float):
        return value
    return _checked(value, str if type(value) is str else int)


def _variables(state: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return all variables of a network, those of components under their names. Version 2 has them in one list."""
    pairs = [(_checked(name, str), array) for name, array in _checked(state["variables"], list)]
    for component in _checked(state.get("components", {}), dict).values():
        part = _checked(component, Record).state
        prefix = _checked(part["name"], str)
        pairs += [(f"{prefix}/{_checked(name, str)}", array) for name, array in _checked(part["variables"], list)]

    out = {}
    for name, array in pairs:
        if not isinstance(array, np.ndarray):
            raise ValueError(f"variable {name} is not an array")
        out[name] = array
    return out
