"""The commands of export.py."""

import copy
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from dnnlib import cli
from dnnlib.cli import Place, Switch
from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir
from dnnlib.hub import HubAddress
from generation.networks import NetworkOptions
from generation.output import check_output
from generation.selection import parse_levels
from pretrained import load_network
from pretrained.bmsg_gan import generator_weights
from sharing.export.formats import TOLERANCE, largest_error, rounding_error, write_onnx, write_program
from sharing.export.hub import check_token, describe, download, push, write_repository
from sharing.export.model import ExportedGenerator, ExportedNoise, Precision
from training.networks.base import Generator
from training.run.snapshot import save_snapshot

OPSETS = range(18, 24)
ROUNDING = 4  # times the error of PyTorch itself that an exported network may have


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
Repository = tyro.conf.Positional[str]


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
    _keep_if_close(G, form, output, f"ONNX opset {opset}")


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
    _keep_if_close(G, form, output, "torch.export")


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

    # The file keeps what the network was converted from, since the licence of its weights follows from that.
    net = load_network(network.find())
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    make_dir(output.parent)
    save_snapshot(output, {"G_ema": net.generator().to(dtype)}, net.spec, net.cur_nimg, net.origin)
    print(f"{output}: {_size(output)}, {precision}")


def pth(*, network: Networks, output: Path = Path("GAN_GEN_SHADOW.pth"), overwrite: Switch = False) -> None:
    """Write G of an MSG-ProGAN as a file that BMSG-GAN's generate_samples.py takes.

    Args:
        output: File to write.
        overwrite: Replace the file if it exists.
    """
    check_output(output, (".pth",), overwrite)
    place = network.find()
    G = load_network(place).generator()
    weights = generator_weights(G, place)

    # The container that PyTorch 1.0 reads, which BMSG-GAN was written for.
    make_dir(output.parent)
    with atomic(output) as temporary:
        torch.save(weights, temporary, _use_new_zipfile_serialization=False)
    depth, width = len(G.spec.resolutions), G.cfg.z_dim
    print(f"{output}: {_size(output)}; generate_samples.py takes it with depth {depth} and latent size {width}")


def hub(
    repo: Repository,
    *,
    network: Networks,
    licence: str | None = None,
    all_networks: Switch = False,
    private: Switch = False,
    message: str = "Upload a network",
    output: Path | None = None,
) -> None:
    """Upload a network to the Hugging Face Hub, with a model card, samples, scores and configuration.

    From then on, every command opens it by its address: `--network hf://user/name`.

    Args:
        repo: Repository, as user/name. It is created unless it exists.
        licence: Licence of the weights, by its name on the Hub, e.g. cc-by-4.0.
        all_networks: Upload G and D as well, which training can start from, and not the average of G alone.
        private: Make a new repository visible to you only.
        message: What the history of the repository says.
        output: Upload nothing, and write the files into this new folder instead.
    """
    address = _repository(repo, may_have_revision=False)
    if output is None:
        check_token(address)
    else:
        _check_new(output)
    place = network.find()
    upload = describe(load_network(place), Path(place), licence)

    # The folder appears when all files are in it.
    if output is not None:
        make_dir(output.parent)
        with atomic(output) as folder:
            write_repository(upload, make_dir(folder), address.repo, all_networks)
        print(f"{output}: {address.repo}, not uploaded")
        return

    # What is uploaded is whole before the upload begins.
    with tempfile.TemporaryDirectory(prefix="msg-gan-hub-") as temporary:
        write_repository(upload, Path(temporary), address.repo, all_networks)
        print(push(address, Path(temporary), private, message))


def pull(repo: Repository, *, output: Path | None = None) -> None:
    """Download all files of a repository of the Hugging Face Hub.

    Args:
        repo: Repository, as user/name or user/name@revision.
        output: New folder. Default: the name of the repository.
    """
    address = _repository(repo, may_have_revision=True)
    folder = Path(address.repo.rpartition("/")[2]) if output is None else output
    _check_new(folder)
    download(address, folder)
    print(f"{folder}: {address.repo}")


def _repository(repo: str, may_have_revision: bool) -> HubAddress:
    """Return the address of a repository; raise UserError if it is none."""
    address = HubAddress.parse(f"hf://{repo.removeprefix('hf://')}")
    if address.file is not None or (address.revision is not None and not may_have_revision):
        raise UserError(f"{repo}: expected a repository such as user/name")
    return address


def _check_new(folder: Path) -> None:
    """Raise UserError if a folder is there already."""
    if os.path.lexists(folder):
        raise UserError(f"--output {folder}: exists already, choose another name")


def check(file: Place, *, network: Networks, form: Forms) -> None:
    """Compare an exported file (.onnx or .pt2) with the network that it was made from.

    Args:
        file: File to compare.
    """
    if file.suffix not in (".onnx", ".pt2"):
        raise UserError(f"{file}: expected a file that ends in .onnx or .pt2")
    place = network.find()
    print(f"compared with {place}")
    _compare(_load(network, form), form, file, "as given")


def _load(network: NetworkOptions, form: FormOptions) -> Generator:
    """Return the generator; raise UserError if it has no such noise."""
    G = load_network(network.find()).generator()
    if form.noise == "input" and not G.synthesis.noise_shapes(1):
        raise UserError("--noise input: this network has no noise inputs")
    return G


def _model(G: Generator, form: FormOptions, precision: Precision) -> ExportedGenerator:
    """Return a copy of the generator as it is exported; raise UserError if it has no such levels."""
    levels = parse_levels(form.level, len(G.synthesis.image_sizes))
    return ExportedGenerator(copy.deepcopy(G), levels, form.noise, precision)


def _keep_if_close(G: Generator, form: FormOptions, path: Path, what: str) -> None:
    """Compare a file that was written with the network, and remove it if they differ too much."""
    try:
        _compare(G, form, path, what)
    except UserError:
        path.unlink(missing_ok=True)
        raise


def _compare(G: Generator, form: FormOptions, path: Path, what: str) -> None:
    """Print how far a file is from the network in float32; raise UserError if that is too far."""
    # Also a file that is of no use is described first.
    model = _model(G, form, "fp32")
    error = largest_error(model, path)
    inputs, outputs = ", ".join(model.input_names), ", ".join(model.output_names)
    print(f"{path}: {_size(path)}, {what}, {form.precision}: {inputs} -> {outputs}")
    print(f"largest error against PyTorch in fp32: {error:.1e} of the largest value")

    # A network that has hardly been trained may magnify roundings, also in PyTorch.
    tolerance = TOLERANCE[form.precision]
    if error > tolerance:
        tolerance = max(tolerance, ROUNDING * rounding_error(model))
    if not error <= tolerance:
        raise UserError(f"{path}: expected an error of at most {tolerance:.1g}, do not use this file")


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


COMMANDS: dict[str, Any] = {
    "onnx": onnx,
    "program": program,
    "safetensors": safetensors,
    "pth": pth,
    "check": check,
    "hub": hub,
    "pull": pull,
}


def main() -> None:
    """Parse the command line and run the command."""
    cli.run_command(COMMANDS, "Write a network in formats that other programs open, and hand it on.", prog="export.py")
