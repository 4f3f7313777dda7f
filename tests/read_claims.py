"""Reads every file of a folder, in the way that its name begins with: `python -m tests.read_claims FOLDER`.

Memory is limited, so that a file whose header claims more than it holds fails where somebody believes it.
"""

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from generation.latent_directions import read_directions
from generation.latent_files import read_latents
from metrics.detectors.weights import read_tensors
from pretrained import load_network
from training.data.dataset import open_dataset
from training.run.checkpoint import load_checkpoint

MORE = 2**27  # bytes of address space beyond what this process has after its imports
READERS: dict[str, Callable[[Path], Any]] = {
    "latents": read_latents,
    "directions": lambda path: read_directions(path, None),  # type: ignore[arg-type]
    "weights": read_tensors,
    "network": lambda path: load_network(path).generator(),
    "checkpoint": load_checkpoint,
    "dataset": lambda path: open_dataset(path).batch(torch.arange(1).numpy()),
}


def main(folder: Path) -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    size = int(next(line for line in lines if line.startswith("VmSize")).split()[1])
    resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + MORE,) * 2)

    for path in sorted(folder.iterdir()):
        try:
            READERS[path.name.partition("-")[0]](path)
            message = "READ"
        except UserError as e:
            message = str(e)
        print(json.dumps([path.name, message]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
