"""Starting a run from the weights of another network, of which everything is copied that fits by name and shape.

Where only the images differ, in their channels or classes, weights are adapted (`training.adaptation`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import nn

from dnnlib.errors import UserError
from training.adaptation import Adapt, Shape, adaptation

# Share of the values of G that must fit: some biases fit nearly anything, and would make a wrong file look right.
LEAST = 0.05


@dataclass(frozen=True)
class InitialWeights:
    """The weights that a run starts from, of some of `G`, `D` and `G_ema`."""

    where: str
    """The files, for messages."""
    shapes: dict[str, dict[str, Shape]]
    """Shape of each tensor, by network and name."""
    c_dim: int
    """Label values of the images that the networks are for."""
    cur_nimg: int | None
    """Real images that the networks were trained on, if the files tell."""
    read: Callable[[str], Mapping[str, torch.Tensor]]
    """Return the tensors of a network by name."""


def fitting(network: nn.Module, weights: InitialWeights, name: str) -> set[str]:
    """Return the names of the tensors that the network takes, as they are or adapted."""
    return {key for key, tensor in network.state_dict().items() if _way(network, key, tensor, weights, name)}


def _way(network: nn.Module, key: str, tensor: torch.Tensor, weights: InitialWeights, name: str) -> Adapt | None:
    """Return what makes this tensor of the network of one of the file; None if it starts afresh."""
    there, here = weights.shapes.get(name, {}).get(key), tuple(tensor.shape)
    if there is None:
        return None

    # Networks without options are those of tests.
    cfg, spec = getattr(network, "cfg", None), getattr(network, "spec", None)
    if cfg is None or spec is None:
        return (lambda t: t) if tuple(there) == here else None
    return adaptation(key, tuple(there), here, cfg.use_wscale, weights.c_dim, spec.c_dim)


def check_fit(G: nn.Module, weights: InitialWeights) -> None:
    """Raise UserError if G would take next to nothing."""
    if not weights.shapes.get("G"):
        raise UserError(f"{weights.where}: no generator to start from, only a discriminator")

    taken = fitting(G, weights, "G")
    # Parameters only: the running mean of w and stored noise do not make a generator.
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
    source = weights.read(name)
    for key, tensor in network.state_dict().items():
        way = _way(network, key, tensor, weights, name)
        if way:
            tensor.copy_(way(source[key]))


def table(network: nn.Module, weights: InitialWeights, name: str) -> list[str]:
    """Return lines that list, block by block, how many values come from the file and how many start afresh, and why.

    The last line names what of the file is not used.
    """
    shapes, taken = weights.shapes.get(name, {}), fitting(network, weights, name)
    if not shapes:
        return [f"{name:<18} {'all fresh':>12}  not in the file"]

    # One line a block; the first tensor that starts afresh gives the reason.
    state = network.state_dict()
    lines = [f"{name:<18} {'copied':>12} {'fresh':>12}"]
    for block, keys in groupby(state, block_of):
        members = list(keys)
        missing = [key for key in members if key not in taken]
        fresh = sum(state[key].numel() for key in missing)
        copied = sum(state[key].numel() for key in members) - fresh
        adapted = [key for key in members if key in taken and tuple(shapes[key]) != tuple(state[key].shape)]
        reason = f"{_difference(adapted[0], state[adapted[0]], shapes)}: adapted" if adapted else ""
        reason = _difference(missing[0], state[missing[0]], shapes) if missing else reason
        lines.append(f"{block:<18} {copied:>12,} {fresh:>12,}  {reason}".rstrip())

    # Blocks of the file that the network lacks.
    unused = sorted({block_of(key) for key in shapes.keys() - state.keys()} - set(map(block_of, state)))
    if unused:
        lines.append(f"not used: {', '.join(unused)}")
    return lines


def _difference(key: str, tensor: torch.Tensor, shapes: Mapping[str, Shape]) -> str:
    """Return how a tensor of the network differs from that of the file."""
    difference = f"{list(shapes[key])} there, {list(tensor.shape)} here" if key in shapes else "not in the file"
    return f"{key.removeprefix(block_of(key) + '.')} {difference}"


def block_of(key: str) -> str:
    """Return the block that a tensor belongs to: `synthesis.b8.layer0.bias` -> `synthesis.b8`."""
    depth = 2 if key.startswith("synthesis.") else 1
    return ".".join(key.split(".")[:depth])
