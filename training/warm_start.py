"""Starting a run from the weights of another network: what fits by name and shape is copied."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from dnnlib.errors import UserError

Shape = tuple[int, ...]
LEAST = 0.05  # share of the values of G that must fit: biases fit nearly anything


@dataclass(frozen=True)
class InitialWeights:
    """What a run starts from: for some of `G`, `D` and `G_ema`, the shape of each tensor and a way to read them."""

    where: str
    shapes: dict[str, dict[str, Shape]]
    read: Callable[[str], Mapping[str, torch.Tensor]]


def fitting(network: nn.Module, weights: InitialWeights, name: str) -> set[str]:
    """Return the names of the tensors that the network takes."""
    shapes = weights.shapes.get(name, {})
    return {key for key, tensor in network.state_dict().items() if shapes.get(key) == tuple(tensor.shape)}


def check_fit(G: nn.Module, weights: InitialWeights) -> None:
    """Raise UserError if G would take next to nothing."""
    if not weights.shapes.get("G"):
        raise UserError(f"{weights.where}: no generator to start from, only a discriminator")

    taken = fitting(G, weights, "G")
    sizes = {key: parameter.numel() for key, parameter in G.named_parameters()}
    copied = sum(n for key, n in sizes.items() if key in taken)
    if copied < LEAST * sum(sizes.values()):
        raise UserError(
            f"{weights.where}: only {copied:,} of the {sum(sizes.values()):,} values of G fit the networks to train; "
            "leave out the --G. options that differ from the file"
        )


@torch.no_grad()
def copy_fitting(network: nn.Module, weights: InitialWeights, name: str) -> None:
    """Copy what fits into the network."""
    state, source = network.state_dict(), weights.read(name)
    for key in fitting(network, weights, name):
        state[key].copy_(source[key])


def table(network: nn.Module, weights: InitialWeights, name: str) -> list[str]:
    """Return lines that list, block by block, how many values come from the file and how many start afresh, and why.

    The last line names what of the file is not used.
    """
    shapes, taken = weights.shapes.get(name, {}), fitting(network, weights, name)
    if not shapes:
        return [f"{name:<18} {'all fresh':>12}  not in the file"]

    # Values copied, values that start afresh, and the first reason for the latter, by block.
    state = network.state_dict()
    rows: dict[str, tuple[int, int, str]] = {}
    for key, tensor in state.items():
        copied, fresh, reason = rows.get(block_of(key), (0, 0, ""))
        if key in taken:
            copied += tensor.numel()
        else:
            fresh += tensor.numel()
            child = key.removeprefix(block_of(key) + ".")
            found = f"{list(shapes[key])} there, {list(tensor.shape)} here" if key in shapes else "not in the file"
            reason = reason or f"{child} {found}"
        rows[block_of(key)] = copied, fresh, reason

    lines = [f"{name:<18} {'copied':>12} {'fresh':>12}"]
    for block, (copied, fresh, reason) in rows.items():
        lines.append(f"{block:<18} {copied:>12,} {fresh:>12,}  {reason}".rstrip())

    unused = sorted({block_of(key) for key in shapes.keys() - state.keys()} - rows.keys())
    if unused:
        lines.append(f"not used: {', '.join(unused)}")
    return lines


def block_of(key: str) -> str:
    """Return the block that a tensor belongs to: `synthesis.b8.layer0.bias` -> `synthesis.b8`."""
    depth = 2 if key.startswith("synthesis.") else 1
    return ".".join(key.split(".")[:depth])
