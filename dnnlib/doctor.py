"""What this machine offers for training, and what to do about problems: `python -m dnnlib.doctor`."""

import multiprocessing
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
import torch.nn.functional as F
import tyro
from packaging.requirements import Requirement

from dnnlib import cli
from dnnlib.cli import Switch
from dnnlib.hardware import fast_precision, free_memory
from dnnlib.pool import cpu_count

PACKAGE = "msg-gan"
NAMED = ("torch", "triton", "numpy", "pillow", "av")  # packages whose versions reports of errors need
EXTRAS = ("datasets", "export", "demo", "hub", "trackers", "cloud")

GIB = 2**30
LEAST_MEMORY = 2 * GIB
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LARGEST_ERROR = 0.02  # relative, of a convolution; bf16 has 0.002
LEAST_SHARED = 2**26  # bytes of /dev/shm, in which processes hand data over
LEAST_DISK = GIB  # bytes: a few checkpoints of a large network
WRITTEN = 2**26  # bytes that the speed of the disk is measured with
SLOW_DISK = 20e6  # bytes a second, below which training waits for its checkpoints
COMPILE_SECONDS = 300

# A function that torch.compile has to generate code for.
COMPILED = """
import sys, torch
f = torch.compile(lambda x: (x.sin() * 2 + x.cos()).relu().sum())
assert torch.isfinite(f(torch.ones(64, device=sys.argv[1])))
"""


class Finding(NamedTuple):
    """What was found out about one part of the machine."""

    name: str
    text: str
    advice: str = ""
    """What to do about it; empty if nothing is wrong."""


def check_packages() -> Iterator[Finding]:
    """Yield the versions of the system and of packages, and the extras that are installed."""
    yield Finding("system", f"{platform.platform()}, Python {platform.python_version()}")
    yield Finding("packages", ", ".join(f"{name} {_version(name) or 'not installed'}" for name in NAMED))

    try:
        unmet = [r for r in map(Requirement, requires(PACKAGE) or []) if not _is_met(r)]
    except PackageNotFoundError:
        yield Finding(PACKAGE, "not installed", "run pip install . in its folder")
        return

    # What the package itself needs.
    if needed := [r for r in unmet if r.marker is None]:
        yield Finding(PACKAGE, f"needs {_listed(needed)}", "run pip install . in its folder")

    # What its extras add. Nobody has to have them.
    missing = {extra: [r for r in unmet if r.marker and r.marker.evaluate({"extra": extra})] for extra in EXTRAS}
    yield Finding("extras", ", ".join(extra for extra in EXTRAS if not missing[extra]) or "none")
    for extra in EXTRAS:
        if missing[extra]:
            yield Finding("", f"for {extra}: pip install '.[{extra}]' adds {_listed(missing[extra])}")


def _is_met(requirement: Requirement) -> bool:
    return requirement.specifier.contains(_version(requirement.name) or "0", prereleases=True)


def _listed(requirements: list[Requirement]) -> str:
    return ", ".join(f"{requirement.name}{requirement.specifier}" for requirement in requirements)


def _version(package: str) -> str | None:
    """Return the version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_devices() -> Iterator[Finding]:
    """Yield the processor and the GPUs, and the precision that each is fast at."""
    precision = fast_precision(torch.device("cpu"))
    yield Finding("CPU", f"{cpu_count()} cores, {torch.get_num_threads()} threads, precision {precision}")

    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        precision = fast_precision(torch.device("cuda", i))
        yield Finding(f"GPU {i}", f"{properties.name}, {properties.total_memory / GIB:.0f} GiB, precision {precision}")
    if torch.cuda.is_available():
        return

    # A driver without a usable GPU is a common mistake.
    advice = ""
    if shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists():
        build = "built without CUDA" if torch.version.cuda is None else f"made for CUDA {torch.version.cuda}"
        advice = f"there seems to be a GPU, but this torch is {build}: install the torch that fits the driver"
    yield Finding("GPU", "none that torch can use", advice)


def check_precisions() -> Iterator[Finding]:
    """Yield how fast and how exact convolutions are in each precision, which are tried on one of 64 channels."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(16, 64, 32, 32, generator=rng).to(device)
    weight = torch.randn(64, 64, 3, 3, generator=rng).to(device)
    expected = F.conv2d(x.double(), weight.double(), padding=1)

    seconds: dict[str, float] = {}
    for name, dtype in PRECISIONS.items():
        # fp16 is made for GPUs.
        if name == "fp16" and device.type == "cpu":
            continue
        a, b = (t.to(dtype).contiguous(memory_format=torch.channels_last) for t in (x, weight))

        def convolve(a: torch.Tensor = a, b: torch.Tensor = b) -> float:
            return F.conv2d(a, b, padding=1)[0, 0, 0, 0].item()  # a number on the host, so that a GPU has finished

        seconds[name] = min(timeit.repeat(convolve, number=1, repeat=5))
        error = ((F.conv2d(a, b, padding=1) - expected).norm() / expected.norm()).item()

        speed = f"{seconds['fp32'] / seconds[name]:.1f} times as fast as fp32, " if name != "fp32" else ""
        advice = f"do not train with --precision {name}" if error > LARGEST_ERROR else ""
        yield Finding(name, f"{speed}relative error {error:.1e}", advice)


def check_memory() -> Iterator[Finding]:
    """Yield the main memory and, on Linux, the memory that processes share."""
    free, total = free_memory(), psutil.virtual_memory().total
    advice = "close other programs, or train smaller networks" if free < LEAST_MEMORY else ""
    yield Finding("memory", f"{free / GIB:.1f} of {total / GIB:.1f} GiB free", advice)

    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        advice = "give it more: docker run --shm-size 1g, or mount -o remount,size=1g /dev/shm"
        yield Finding("shared memory", f"{free / GIB:.1f} GiB free", advice if free < LEAST_SHARED else "")


def check_disk(folder: Path) -> Iterator[Finding]:
    """Yield the room in the folder of runs, and the speed at which files are written there."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    usage = shutil.disk_usage(place)
    advice = "choose another folder of runs, or delete old runs" if usage.free < LEAST_DISK else ""
    yield Finding("disk", f"{usage.free / GIB:.1f} of {usage.total / GIB:.1f} GiB free in {place}", advice)

    # Like a checkpoint, the file counts as written once it is on the disk.
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            start = time.perf_counter()
            file.write(bytes(min(WRITTEN, usage.free // 2)))
            file.flush()
            os.fsync(file.fileno())
            speed = file.tell() / (time.perf_counter() - start)
    except OSError as e:
        yield Finding("write speed", f"unknown: {e.strerror}", f"make {place} writable, or choose another folder")
        return
    advice = "choose a faster disk for runs, or write snapshots less often" if speed < SLOW_DISK else ""
    yield Finding("write speed", f"{speed / 1e6:.0f} MB/s", advice)


def check_weights() -> Iterator[Finding]:
    """Yield the weight files of detectors that are on this machine."""
    folders = {Path(torch.hub.get_dir()) / "checkpoints"}
    if named := os.environ.get("MSG_GAN_DETECTORS"):
        folders = {Path(named)}
    files = sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir() if _is_weights(path))
    yield Finding("weights", ", ".join(map(str, files)) or "none: metrics download what they need at their first use")


def _is_weights(path: Path) -> bool:
    return path.suffix in (".pt", ".pth", ".safetensors")


def check_processes() -> Iterator[Finding]:
    """Yield whether processes can be started and can talk to one another."""
    process = multiprocessing.get_context("spawn").Process(target=int)
    try:
        process.start()
        process.join(60)
        problem = "" if process.exitcode == 0 else f"exit status {process.exitcode}"
    except OSError as e:
        problem = str(e)
    advice = "convert datasets with --workers 1 and train with --gpus 1" if problem else ""
    yield Finding("processes", problem or "can be started", advice)

    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
        yield Finding("loopback", "works")
    except OSError as e:
        yield Finding("loopback", f"fails: {e}", "allow connections to 127.0.0.1, which several processes need")


def check_compile() -> Iterator[Finding]:
    """Yield whether torch.compile works, which is tried in a process of its own."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = time.perf_counter()
    try:
        command = [sys.executable, "-c", COMPILED, device]
        subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_SECONDS)
    except subprocess.TimeoutExpired:
        yield Finding("torch.compile", f"takes more than {COMPILE_SECONDS} s", "train without --compile")
    except subprocess.CalledProcessError as e:
        # The line that names the error; advice about debugging follows it.
        lines = e.stderr.decode(errors="replace").splitlines()
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Invalid\w*|Missing\w*)\b", line)]
        reason = (errors or lines or ["no message"])[-1][:200]
        compiler = "a C compiler, which Triton needs," if device == "cuda" else "a C++ compiler such as g++"
        yield Finding("torch.compile", f"fails: {reason}", f"install {compiler} or train without --compile")
    else:
        yield Finding("torch.compile", f"works, {time.perf_counter() - start:.0f} s for a small function")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Look at what this machine offers for training. The exit status is 1 if something should be done about it."""

    result_dir: Path = Path("results")
    """Folder that runs are to be written to."""
    skip_compile: Switch = False
    """Do not try torch.compile, which takes up to a minute."""


def diagnose(options: Options) -> int:
    """Print what is found, with advice below each problem, and return the exit status."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_packages,
        check_devices,
        check_precisions,
        check_memory,
        partial(check_disk, options.result_dir),
        check_weights,
        check_processes,
    ]
    if not options.skip_compile:
        checks.append(check_compile)

    problems = 0
    for check in checks:
        for finding in check():
            print(f"{finding.name:<14} {finding.text}", flush=True)
            if finding.advice:
                problems += 1
                print(f"{'':<14} PROBLEM: {finding.advice}", flush=True)

    print({0: "No problems.", 1: "1 problem."}.get(problems, f"{problems} problems."))
    return 1 if problems else 0


def main() -> int:
    """Parse the command line and look at the machine."""
    parse = partial(tyro.cli, Options, prog="python -m dnnlib.doctor", description=Options.__doc__)
    return diagnose(cli.one_line_errors(parse))


if __name__ == "__main__":
    cli.run(main)
