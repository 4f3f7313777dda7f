"""The commands of `python -m pretrained`, which look into network files and convert them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

from dnnlib import cli
from dnnlib.errors import UserError
from pretrained.bmsg_gan import ORIGIN as BMSG_GAN
from pretrained.loading import format_of, load_network
from pretrained.tf_networks import ORIGINS
from training.config import as_dict
from training.networks.architectures import ARCHITECTURES
from training.run.snapshot import save_snapshot
from training.spec import shape_text

# What the user should know about the licence of weights, by what wrote them.
LICENCES = {
    BMSG_GAN: "BMSG-GAN is under the MIT licence, whose notice stays with its files (LICENSE_ORIGINAL.txt)",
    **dict.fromkeys(
        ORIGINS.values(),
        "what was made with the original code is under its licence, CC BY-NC 4.0: no commercial use, and credit is "
        "due; converting it changes nothing about that (LICENSE_ORIGINAL.txt)",
    ),
}


def inspect(file: Annotated[str, tyro.conf.Positional], /) -> None:
    """Show what a network file holds: format, architecture, images, parameters, training progress, options.

    Args:
        file: Network file of any kind, its URL, or hf://user/repo.
    """
    net = load_network(file)
    path = Path(net.where)
    spec = net.spec

    # Facts about the file.
    print(f"file        {path} ({path.stat().st_size:,} bytes), {format_of(path)}")
    print(f"made by     {net.origin or 'train.py'}")
    print(f"images      {shape_text(spec.shape)}, {spec.c_dim or 'no'} label values")
    print(f"trained     {'unknown' if net.cur_nimg is None else f'{net.cur_nimg / 1000:g} kimg'}")

    # Facts about its networks.
    for name, part in net.parts.items():
        parameters = sum(p.numel() for p in part.network.parameters())
        print(f"{name:<11} {ARCHITECTURES[part.cfg.kind].title}, {parameters:,} parameters")

    for note in net.notes:
        print(f"note        {note}")
    if net.origin in LICENCES:
        print(f"licence     {LICENCES[net.origin]}")

    # G_ema has the options of G.
    for name, part in net.parts.items():
        if name != "G_ema" or "G" not in net.parts:
            print(f"{name.removesuffix('_ema'):<11} {json.dumps(as_dict(part.cfg))}")


def convert(files: Annotated[tuple[str, ...], tyro.conf.Positional], /) -> None:
    """Write network files of any kind as one snapshot.

    Examples: `convert OLD.pkl NEW.safetensors`, or with files that belong together
    `convert GAN_GEN_5.pth GAN_GEN_SHADOW_5.pth GAN_DIS_5.pth NEW.safetensors`.

    Args:
        files: The old file or files, and the new one.
    """
    if len(files) < 2:
        raise UserError(f"convert: found {len(files)} file(s), expected OLD [OLD ...] NEW.safetensors")

    # Nothing is read before it is clear that the result can be written.
    *old, new = files
    out = Path(new)
    if out.suffix != ".safetensors":
        raise UserError(f"{out}: expected a new file whose name ends in .safetensors")
    if out.exists():
        raise UserError(f"{out}: exists already, expected the name of a new file")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder")

    net = load_network(*old)
    networks = {name: part.build() for name, part in net.parts.items()}
    save_snapshot(out, networks, net.spec, net.cur_nimg, net.origin)

    # The licence of the weights goes with them.
    print(f"{out}: {', '.join(networks)} of {ARCHITECTURES[next(iter(networks.values())).cfg.kind].title}")
    if net.origin in LICENCES:
        print(f"licence: {LICENCES[net.origin]}")


COMMANDS: dict[str, Callable[..., None]] = {"inspect": inspect, "convert": convert}


def main() -> None:
    """Parse the command line and run the command."""
    cli.run_command(COMMANDS, "Inspect and convert network files.", "python -m pretrained")
