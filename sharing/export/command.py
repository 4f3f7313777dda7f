"""The commands of export.py."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from dnnlib import cli
from dnnlib.cli import Place, Switch
from dnnlib.errors import UserError
from dnnlib.files import make_dir
from generation.networks import NetworkOptions
from generation.output import check_output
from generation.selection import parse_levels
from pretrained import load_network
from sharing.export.formats import TOLERANCE, largest_error, write_onnx, write_program
from sharing.export.model import ExportedGenerator, ExportedNoise, Precision
from training.networks.base import Generator
from training.run.snapshot import save_snapshot

OPSETS = range(18, 24)


@dataclass(frozen=True, kw_only=True)
class FormOptions:
    """What the exported network takes and returns."""

    level: str = "all"
    """Levels of the pyramid that it returns: all, or numbers such as -1 (full resolution) or 0,2,-1."""
    noise: ExportedNoise = "const"
    """Noise: const = the noise stored with the network, none, or input = further inputs, one for each layer."""
    precision: Precision = "fp32"
    """Precision of the synthesis network; fp16 halves the file."""


Networks = Annotated[NetworkOptions, tyro.conf.OmitArgPrefixes]
Forms = Annotated[FormOptions, tyro.conf.OmitArgPrefixes]


def onnx(
    *, network: Networks, form: Forms, opset: int = 18, output: Path = Path("G.onnx"), overwrite: Switch = False
) -> None:
    """Write G as an ONNX file, mapping and synthesis in one, for any number of images.

    Inputs are z [N,z_dim], c [N,classes] (of a conditional network) and psi (1 = no truncation). The file is opened
    with onnxruntime and compared with PyTorch.

    Args:
        opset: Version of ONNX's operators.
        output: File to write.
        overwrite: Replace the file if it exists.
    """
    check_output(output, (".onnx",), overwrite)
    if opset not in OPSETS:
        raise UserError(f"--opset {opset}: expected {OPSETS[0]} to {OPSETS[-1]}")

    # Half precision is compared with full precision, so the network stays as it is.
    G = _load(network, form)
    make_dir(output.parent)
    write_onnx(_model(G, form, form.precision), output, opset)
    _compare(G, form, output, f"ONNX opset {opset}")


def program(*, network: Networks, form: Forms, output: Path = Path("G.pt2"), overwrite: Switch = False) -> None:
    """Write G as a program of torch.export, which PyTorch runs without any code of this project.

    Inputs are those of the ONNX file. The file is opened again and compared with the network.

    Args:
        output: File to write.
        overwrite: Replace the file if it exists.
    """
    check_output(output, (".pt2",), overwrite)
    G = _load(network, form)
    make_dir(output.parent)
    write_program(_model(G, form, form.precision), output)
    _compare(G, form, output, "torch.export")


def safetensors(
    *,
    network: Networks,
    precision: Literal["fp32", "fp16", "bf16"] = "fp32",
    output: Path = Path("G.safetensors"),
    overwrite: Switch = False,
) -> None:
    """Write G alone, the moving average, as a network file that every command of this project opens.

    Args:
        precision: Precision in which weights are stored; they are float32 again when they are loaded.
        output: File to write.
        overwrite: Replace the file if it exists.
    """
    check_output(output, (".safetensors",), overwrite)

    # The file says where the network comes from, but not in which folder that is.
    place = network.find()
    G = load_network(place).generator()
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    make_dir(output.parent)
    save_snapshot(output, {"G_ema": G.to(dtype)}, G.spec, None, Path(place).name)
    print(f"{output}: {_size(output)}, {precision}")


def check(file: Place, *, network: Networks, form: Forms) -> None:
    """Compare an exported file (.onnx or .pt2) with the network that it was made from.

    Args:
        file: File to compare.
    """
    if file.suffix not in (".onnx", ".pt2"):
        raise UserError(f"{file}: expected a file that ends in .onnx or .pt2")
    _compare(_load(network, form), form, file, "as given")


def _load(network: NetworkOptions, form: FormOptions) -> Generator:
    """Return the generator; raise UserError if it has no such noise."""
    G = load_network(network.find()).generator()
    if form.noise == "input" and not G.synthesis.noise_shapes(1):
        raise UserError("--noise input: this network has no noise inputs")
    return G


def _model(G: Generator, form: FormOptions, precision: Precision) -> ExportedGenerator:
    """Return a copy of the generator as it is exported; raise UserError if it has no such levels."""
    levels = parse_levels(form.level, len(G.synthesis.image_resolutions))
    return ExportedGenerator(copy.deepcopy(G), levels, form.noise, precision)


def _compare(G: Generator, form: FormOptions, path: Path, what: str) -> None:
    """Print how far a file is from the network in float32; raise UserError if that is too far."""
    # Also a file that is of no use is described first.
    model = _model(G, form, "fp32")
    error = largest_error(model, path)
    inputs, outputs = ", ".join(model.input_names), ", ".join(model.output_names)
    print(f"{path}: {_size(path)}, {what}, {form.precision}: {inputs} -> {outputs}")
    print(f"largest error against PyTorch in fp32: {error:.1e} of the largest value")
    tolerance = TOLERANCE[form.precision]
    if not error <= tolerance:
        raise UserError(f"{path}: expected an error of at most {tolerance:g}, do not use this file")


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


COMMANDS: dict[str, Any] = {"onnx": onnx, "program": program, "safetensors": safetensors, "check": check}


def main() -> None:
    """Parse the command line and run the command."""
    cli.run_command(COMMANDS, "Write a network in formats that other programs open.", prog="export.py")
