"""Names and layouts of msg-stylegan-tf variables against ours, for the golden files."""

import re

import numpy as np
import torch

_LAYER = {"Const": "layer0", "Dense": "layer0", "Conv0_up": "layer0", "Conv": "layer1", "Conv1": "layer1"}


def generator_key(name: str, resolution: int) -> str:
    """TF variable of G -> our state-dict key."""
    if name == "dlatent_avg":
        return "mapping.w_avg"
    scope, _, name = name.partition("/")
    if scope == "G_mapping":
        if name == "LabelConcat/weight":
            return "mapping.label_weight"
        return re.sub(r"Dense(\d+)/", r"mapping.fc\1.", name)
    if m := re.fullmatch(r"noise(\d+)", name):
        i = int(m[1])
        return f"synthesis.b{4 * 2 ** (i // 2)}.layer{i % 2}.noise_const"
    if m := re.fullmatch(r"ToRGB_lod(\d+)/(\w+)", name):
        return f"synthesis.torgb{resolution >> int(m[1])}.{m[2]}"
    m = re.fullmatch(r"(\d+)x\d+/(\w+?)/(.+)", name)
    assert m, name
    layer = f"synthesis.b{m[1]}.{_LAYER[m[2]]}"
    tail = {
        "const": "source.const",
        "weight": "source.fc.weight" if m[2] == "Dense" else "source.weight",
        "Noise/weight": "noise_strength",
        "bias": "bias",
        "StyleMod/weight": "style.weight",
        "StyleMod/bias": "style.bias",
    }[m[3]]
    return f"{layer}.{tail}"


def discriminator_key(name: str, resolution: int) -> str:
    """TF variable of D -> our state-dict key."""
    if name.startswith("FromRGB_lod0/"):
        return f"b{resolution}.fromrgb.{name.split('/')[1]}"
    m = re.fullmatch(r"(\d+)x\d+/(\w+)/(\w+)", name)
    assert m, name
    child = {"Conv0": "conv0", "Conv": "conv0", "Conv1_down": "conv1", "combine": "combine.conv", "Dense0": "fc0",
             "Dense1": "fc1"}[m[2]]  # fmt: skip
    return f"b{m[1]}.{child}.{m[3]}"


def from_tf(key: str, value: np.ndarray) -> torch.Tensor:
    """TF layout -> ours: conv [kh,kw,in,out] -> [out,in,kh,kw], dense [in,out] -> [out,in]."""
    t = torch.from_numpy(np.ascontiguousarray(value))
    if key.endswith("weight") and t.ndim == 4:
        return t.permute(3, 2, 0, 1)
    if key.endswith("weight") and t.ndim == 2 and key != "mapping.label_weight":
        return t.t()
    return t
