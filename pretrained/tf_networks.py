"""Network pickles of TensorFlow 1: msg-stylegan-tf, and the plain StyleGAN that it grew out of (NVIDIA 2019)."""

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from dnnlib.errors import UserError, printable
from dnnlib.pickles import Record, read_pickle
from pretrained.network_file import NetworkFile, Part, Row, by_role, layer_rows, translate
from training.config import from_dict
from training.networks.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    StyleGANDiscriminatorConfig,
    StyleGANGeneratorConfig,
)
from training.spec import ImageSpec

# Which program wrote the networks of an architecture.
ORIGINS = {"msg_stylegan": "msg-stylegan-tf", "stylegan": "StyleGAN (NVIDIA 2019, TensorFlow)"}

# The networks of a file, and what we call them.
ROLES = {"G": "G", "D": "D", "Gs": "G_ema"}

# Their keyword arguments -> our options, where the names differ.
RENAMED = {
    "num_channels": "channels",
    "label_size": "c_dim",
    "latent_size": "z_dim",
    "dlatent_size": "w_dim",
    "normalize_latents": "normalize_z",
    "nonlinearity": "activation",
    "mapping_nonlinearity": "mapping_activation",
    "const_input_layer": "use_const_input",
    "dlatent_avg_beta": "w_avg_beta",
}
# Keyword arguments that say something about the images, about how networks were run, or nothing. Both forms of
# fused_scale are equal in D, so that it is an option of G only.
NOT_OPTIONS = {
    "num_channels", "resolution", "label_size", "style_mixing_prob", "truncation_psi_val", "truncation_cutoff_val",
    "structure", "dtype", "randomize_noise", "is_training", "is_validation", "is_template_graph", "dlatent_broadcast",
    "fused_scale",
}  # fmt: skip


def load_tf(path: Path) -> NetworkFile:
    """Open the networks of a TF1 pickle: a (G, D, Gs) triple or one of them.

    A D of another architecture is left out with a warning if there is a generator beside it; unknown keyword arguments
    are named in a warning. Raises UserError if the file holds no network that is known.
    """
    content = read_pickle(path)
    records: Sequence[Any] = content if isinstance(content, tuple | list) else [content]
    if not records or not all(isinstance(record, Record) for record in records):
        raise UserError(f"{path}: a pickle, but not of networks, expected the (G, D, Gs) of a network-*.pkl")

    # A small, malicious file can name one network millions of times; `by_role` refuses the second one at once.
    try:
        parts = by_role(_known_networks(records, path))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as e:
        raise UserError(f"{path}: not a whole network pickle: {e!r}") from e

    # Such a file can also name one array many times; refuse it before copies in float32 fill the memory.
    values = sum(math.prod(stored.shape) for part in parts.values() for stored in part.tensors.values())
    if 4 * values > 2 * path.stat().st_size + 2**20:
        raise UserError(f"{path}: its variables claim {values:,} values, more than the file holds")

    # Only the file name says how long training was, and only plain StyleGAN has a lod.
    kimg = re.search(r"network-snapshot-(\d+)", path.name)
    cur_nimg = int(kimg[1]) * 1000 if kimg else None
    lods = {part.tensors[key].read().item() for part in parts.values() for key in part.tensors if key.endswith("lod")}
    unfinished = "its images are not at full resolution yet"
    notes = [f"saved in mid-growth, lod {lod:g}: {unfinished}" for lod in lods if lod > 0]
    first = next(iter(parts.values()))
    return NetworkFile(str(path), parts, first.spec, cur_nimg, ORIGINS[first.cfg.kind], notes)


def _known_networks(records: Sequence[Record], path: Path) -> Iterator[tuple[str, Part]]:
    """Yield the role and the content of each network of a file."""
    for record in records:
        try:
            yield _network(record.state, path)
        except UnknownLayers as e:
            # Branches of the original changed D; G can be used without it.
            if e.role != "D" or len(records) == 1:
                raise
            warnings.warn(printable(f"{e}: this D is left out"), stacklevel=2)


class UnknownLayers(UserError):
    """The tensors of a network are not those of its architecture."""

    def __init__(self, message: str, role: str) -> None:
        super().__init__(message)
        self.role = role


def _network(state: dict[str, Any], path: Path) -> tuple[str, Part]:
    """Return the role and the content of a network from the state that was pickled for it."""
    name, version = _checked(state["name"], str), _checked(state["version"], int)
    if version not in (2, 3):
        writer = ", of StyleGAN2 (TensorFlow)" if version > 3 else ""
        raise UserError(f"{path}: a network of version {version}{writer}, which is not supported: expected 2 or 3")
    if name not in ROLES:
        raise UserError(f"{path}: a network called {name}, expected G, D or Gs")

    # Only plain StyleGAN has a lod. `images` are the resolution and channels that the original code assumes.
    where = f"{path}: {name}"
    arrays = _variables(state)
    is_plain = "lod" in arrays
    config: Any
    if name == "D":
        config, images = StyleGANDiscriminatorConfig if is_plain else DiscriminatorConfig, (32, 1)
    else:
        config, images = StyleGANGeneratorConfig if is_plain else GeneratorConfig, (1024, 3)

    # Options of the network and of its images come from the same arguments.
    kwargs = {key: _plain(value) for key, value in _checked(state["static_kwargs"], dict).items()}
    network_options, unknown = options(kwargs, config)
    image_options, _ = options({"resolution": images[0], "num_channels": images[1], **kwargs}, ImageSpec)
    if unknown:
        warnings.warn(printable(f"{where}: ignored unknown options {', '.join(unknown)}"), stacklevel=2)

    try:
        spec = from_dict(ImageSpec, image_options, where)

        # In a branch of the original, D sees the full resolution alone.
        if config is DiscriminatorConfig:
            lower = spec.resolutions[:-1]
            seen = [r for r in lower if f"{r}x{r}/combine/weight" in arrays]
            network_options["resolutions"] = None if len(seen) == len(lower) else seen
        cfg = from_dict(config, network_options, where)
    except ValueError as e:
        raise UserError(str(e)) from e

    # The lod of G is that of its synthesis network too. Networks of the fixed structure do not look at it.
    arrays.pop("G_synthesis/lod", None)
    if is_plain and kwargs.get("structure") == "fixed":
        arrays["lod"] = np.zeros((), np.float32)

    table = discriminator_table(cfg, spec) if name == "D" else generator_table(cfg, spec)
    try:
        return ROLES[name], Part(cfg, spec, translate(table, arrays, where), where)
    except UserError as e:
        raise UnknownLayers(str(e), ROLES[name]) from e


def options(kwargs: dict[str, Any], config: Any) -> tuple[dict[str, Any], list[str]]:
    """Translate the static kwargs of a network into fields of our config as `from_dict` takes them.

    Return those, and the names of the kwargs that are unknown.
    """
    types = {field.name: field.type for field in fields(config)}
    ours = {RENAMED.get(name, name): value for name, value in kwargs.items()}
    values = {name: _as(types[name], value) for name, value in ours.items() if name in types}
    unknown = [name for name in kwargs if RENAMED.get(name, name) not in types and name not in NOT_OPTIONS]

    # Some have other forms than ours.
    if "fused_scale" in values:
        values["fused_scale"] = str(values["fused_scale"]).lower()
    if "blur_filter" in values:
        values["blur_filter"] = [_as(int, weight) for weight in values["blur_filter"] or ()]

    # Theirs switch a thing off by None or 0.
    if values.get("w_avg_beta", 0) is None:
        values["w_avg_beta"] = 1.0
    if values.get("truncation_psi", 0) is None or not values.get("truncation_cutoff", True):
        values["truncation_psi"] = 1.0
        values.pop("truncation_cutoff", None)
    if values.get("mbstd_group_size", 2) <= 1:
        values.update(mbstd_group_size=1, mbstd_num_features=0)

    return values, unknown


def _as(kind: Any, value: Any) -> Any:
    """Return `value` as the original code understood it: 64.0 as a whole number, and 1 as true."""
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    return bool(value) if kind is bool and value in (0, 1) else value


def _plain(value: Any) -> Any:
    """Return an option as a number, a string, None, or a short list of numbers."""
    if isinstance(value, np.ndarray) and value.size <= 16:
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return _checked(value, NoneType, bool, int, float, str)

    if len(value) > 16:
        raise TypeError("an option that is a long list")
    return [_checked(item, int, float) for item in value]


def _variables(state: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return all variables of a network, those of components under their names. Version 2 has them in one list."""
    components = [_checked(record, Record).state for record in _checked(state.get("components", {}), dict).values()]

    arrays = {}
    for part in (state, *components):
        prefix = "" if part is state else f"{_checked(part['name'], str)}/"
        for name, array in _checked(part["variables"], list):
            if not isinstance(array, np.ndarray):
                raise ValueError(f"variable {_checked(name, str)} is not an array")
            arrays[prefix + _checked(name, str)] = array
    return arrays


def _checked(value: Any, *kinds: type) -> Any:
    """Return `value` if its type is one of `kinds` and its size is reasonable.

    Raise TypeError or ValueError otherwise, before anything hashes, compares or prints a nested or huge object.
    """
    if type(value) not in kinds:
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"found {type(value).__name__}, expected {expected}")
    if (type(value) is int and abs(value) > 2**63) or (type(value) is str and len(value) > 200):
        raise ValueError(f"found {type(value).__name__} of an unreasonable size")
    return value


# The tables below name every variable. The original named variables by the scopes in which it made them:
#
# - G consists of G_mapping and G_synthesis, and the variables of D have no such prefix.
# - A block is called by its resolution, 4x4 to 1024x1024. Its layers say what they do: Const, Dense and Conv begin at
#   4x4, Conv0_up doubles the size, Conv1_down halves it.
# - A layer has a weight and a bias, and in G the strength of its noise and an affine map of its style (StyleMod). The
#   stored noise is numbered over all layers, two per block.
# - Converters to and from RGB are numbered by lod, which counts from the full resolution (0) down to 4x4.


def _conv(x: np.ndarray) -> np.ndarray:
    """[kh,kw,in,out] -> [out,in,kh,kw]."""
    return x.transpose(3, 2, 0, 1)


def _dense(x: np.ndarray) -> np.ndarray:
    """[in,out] -> [out,in]."""
    return x.transpose(1, 0)


# What a layer of G starts from, unless that is a convolution.
SOURCES = {"Const": Row("source.const", "const"), "Dense": Row("source.fc.weight", "weight", _dense)}


def generator_table(cfg: GeneratorConfig, spec: ImageSpec) -> list[Row]:
    """Return a row for every tensor of G and Gs, of either architecture."""
    rows = [Row("mapping.w_avg", "dlatent_avg")]
    if spec.c_dim:
        rows.append(Row("mapping.label_weight", "G_mapping/LabelConcat/weight"))
    for i in range(cfg.mapping_layers):
        rows += layer_rows(f"mapping.fc{i}", f"G_mapping/Dense{i}/", _dense)

    for level, r in enumerate(spec.resolutions):
        start = "Const" if cfg.use_const_input else "Dense"
        for i, name in enumerate(("Conv0_up", "Conv1") if level else (start, "Conv")):
            ours, theirs = f"synthesis.b{r}.layer{i}", f"G_synthesis/{r}x{r}/{name}"
            source = SOURCES.get(name, Row("source.weight", "weight", _conv))
            rows.append(Row(f"{ours}.{source.ours}", f"{theirs}/{source.theirs}", source.transform))
            rows.append(Row(f"{ours}.bias", f"{theirs}/bias"))

            # Every layer is followed by its noise and its style.
            if cfg.use_noise:
                rows.append(Row(f"{ours}.noise_strength", f"{theirs}/Noise/weight"))
                rows.append(Row(f"{ours}.noise_const", f"G_synthesis/noise{2 * level + i}"))
            if cfg.use_styles:
                rows += layer_rows(f"{ours}.style", f"{theirs}/StyleMod/", _dense)

        lod = len(spec.resolutions) - 1 - level
        rows += layer_rows(f"synthesis.torgb{r}", f"G_synthesis/ToRGB_lod{lod}/", _conv)

    if cfg.kind == "stylegan":
        rows.append(Row("synthesis.lod", "lod"))
    return rows


def discriminator_table(cfg: DiscriminatorConfig | StyleGANDiscriminatorConfig, spec: ImageSpec) -> list[Row]:
    """Return a row for every tensor of D, of either architecture."""
    rows = [*layer_rows("b4.fc0", "4x4/Dense0/", _dense), *layer_rows("b4.fc1", "4x4/Dense1/", _dense)]
    for lod, r in enumerate(reversed(spec.resolutions)):
        for i, name in enumerate(("Conv0", "Conv1_down") if r > 4 else ("Conv",)):
            rows += layer_rows(f"b{r}.conv{i}", f"{r}x{r}/{name}/", _conv)

        # MSG-StyleGAN merges the smaller images that D sees with what the block above hands down.
        if lod == 0 or isinstance(cfg, StyleGANDiscriminatorConfig):
            rows += layer_rows(f"b{r}.fromrgb", f"FromRGB_lod{lod}/", _conv)
        elif cfg.resolutions is None or r in cfg.resolutions:
            rows.append(Row(f"b{r}.combine.conv.weight", f"{r}x{r}/combine/weight", _conv))

    if cfg.kind == "stylegan":
        rows.append(Row("lod", "lod"))
    return rows
