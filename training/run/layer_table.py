"""The layers of a network as a table: names, parameters, shapes."""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from training.config import TrainConfig
from training.networks.architectures import build_discriminator, build_generator
from training.networks.base import Discriminator, Generator
from training.networks.layers import Combine, Conv2d, ConvDown2d, ConvUp2d, Dense, DenseInput
from training.networks.msg_r3gan import Basis, GroupedConv2d
from training.networks.msg_stylegan import SynthesisLayer
from training.spec import ImageSpec

# What counts as one layer in the table.
LAYERS = (SynthesisLayer, Conv2d, ConvUp2d, ConvDown2d, GroupedConv2d, Dense, DenseInput, Basis, Combine)


class LayerRow(NamedTuple):
    """One layer of a network, or one parameter outside of all layers."""

    name: str
    parameters: int  # how many values
    output: list[int]  # shape without the batch; empty if it is no layer
    weight: list[int]  # shape


def layer_table(net: Generator | Discriminator, spec: ImageSpec) -> list[LayerRow]:
    """Return the parameters outside of all layers, then the layers in the order of evaluation.

    Evaluates the network once, and leaves hooks in it.
    """
    rows: dict[str, LayerRow] = {}

    def record(name: str, module: torch.nn.Module, args: Any, output: torch.Tensor) -> None:
        parameters = dict(module.named_parameters())
        total = sum(p.numel() for p in parameters.values())
        weights = [list(p.shape) for key, p in parameters.items() if key.endswith(("weight", "const"))]
        rows[name] = LayerRow(name, total, list(output.shape[1:]), weights[0] if weights else [])

    # Watch the outermost modules that count as layers.
    prefixes: tuple[str, ...] = ()
    for name, module in net.named_modules():
        if isinstance(module, LAYERS) and not name.startswith(prefixes):
            prefixes += (f"{name}.",)
            module.register_forward_hook(partial(record, name))

    c = torch.zeros(1, spec.c_dim)
    if isinstance(net, Generator):
        net(torch.zeros(1, net.cfg.z_dim), c)
    else:
        net([torch.zeros(1, spec.channels, *size) for size in spec.sizes], c)

    # Parameters outside of all layers, such as the embedding of labels.
    named = net.named_parameters()
    loose = [LayerRow(key, p.numel(), [], list(p.shape)) for key, p in named if not key.startswith(prefixes)]
    return loose + list(rows.values())


def describe_networks(cfg: TrainConfig, spec: ImageSpec) -> str:
    """Return the layers of G and D, each as a table with the total of its parameters."""
    # Tensors without values take no time and no memory.
    with FakeTensorMode():
        tables = {
            "G": layer_table(build_generator(cfg.G, spec), spec),
            "D": layer_table(build_discriminator(cfg.D, spec), spec),
        }
    return "\n\n".join(_text(name, rows) for name, rows in tables.items())


def _text(title: str, rows: list[LayerRow]) -> str:
    """Return a table of layers as lines of text."""
    lines = [f"{title:<28} {'parameters':>12}  {'output (C,H,W)':<18} weight"]
    for row in rows:
        output, weight = ("x".join(map(str, shape)) or "-" for shape in (row.output, row.weight))
        lines.append(f"{row.name:<28} {row.parameters:>12,}  {output:<18} {weight}")
    lines.append(f"{'total':<28} {sum(row.parameters for row in rows):>12,}")
    return "\n".join(lines)
