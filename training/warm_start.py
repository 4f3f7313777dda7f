"""Starting a run from the weights of another network: what fits by name and shape is copied."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from dnnlib.errors import UserError

Shape = tuple[int, ...]
LEAST = 0.05  # share of the values of G that must fit: biases fit nearly anything


@dataclass(frozen=True)
class Initial:
    """What a run starts from: for some of `G`, `D`, `G_ema` the shape of each tensor, and the tensors."""

    where: str
    shapes: dict[str, dict[str, Shape]]
    read: Callable[[str], Mapping[str, torch.Tensor]]


def fitting(network: nn.Module, initial: Initial, name: str) -> set[str]:
    """The tensors of `initial` that the network takes."""
    shapes = initial.shapes.get(name, {})
    return {k for k, t in network.state_dict().items() if shapes.get(k) == tuple(t.shape)}


def check_fit(G: nn.Module, initial: Initial) -> None:
    """UserError if G would take next to nothing from `initial`."""
    if not initial.shapes.get("G"):
        raise UserError(f"{initial.where}: no generator to start from, only a discriminator")
    taken = fitting(G, initial, "G")
    sizes = {k: p.numel() for k, p in G.named_parameters()}
    copied = sum(n for k, n in sizes.items() if k in taken)
    if copied < LEAST * sum(sizes.values()):
        raise UserError(
            f"{initial.where}: only {copied:,} of the {sum(sizes.values()):,} values of G fit the networks to train; "
            "leave out the --G. options that differ from the file"
        )


@torch.no_grad()
def copy_fitting(network: nn.Module, initial: Initial, name: str) -> None:
    """Copy what fits into the network."""
    state, source = network.state_dict(), initial.read(name)
    for key in fitting(network, initial, name):
        state[key].copy_(source[key])


def table(network: nn.Module, initial: Initial, name: str) -> list[str]:
    """Lines that say, block by block, how many values of a network come from the file and how many start afresh, why,
    and what of the file is not used."""
    shapes, taken = initial.shapes.get(name, {}), fitting(network, initial, name)
    if not shapes:
        return [f"{name:<18} {'all fresh':>12}  not in the file"]
    state = network.state_dict()
    rows: dict[str, tuple[int, int, str]] = {}
    for key, t in state.items():
        copied, fresh, why = rows.get(block(key), (0, 0, ""))
        if key in taken:
            copied += t.numel()
        else:
            fresh += t.numel()
            child = key.removeprefix(block(key) + ".")
            found = f"{list(shapes[key])} there, {list(t.shape)} here" if key in shapes else "not in the file"
            why = why or f"{child} {found}"
        rows[block(key)] = copied, fresh, why
    lines = [f"{name:<18} {'copied':>12} {'fresh':>12}"]
    lines += [f"{k:<18} {copied:>12,} {fresh:>12,}  {why}".rstrip() for k, (copied, fresh, why) in rows.items()]
    unused = sorted({block(k) for k in shapes.keys() - state.keys()} - rows.keys())
    if unused:
        lines.append(f"not used: {', '.join(unused)}")
    return lines


def block(key: str) -> str:
    """`synthesis.b8.layer0.bias` -> `synthesis.b8`."""
    return ".".join(key.split(".")[: 2 if key.startswith("synthesis.") else 1])
