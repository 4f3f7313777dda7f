"""Script mode of Amazon SageMaker: its environment variables become options of train.py, on all machines of a job."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import make_dir

ROOT = Path(__file__).parents[1]
PORT = 29500

# SageMaker copies this folder to S3 while the job runs, and back when the job is started again.
CHECKPOINTS = "/opt/ml/checkpoints"


def main() -> int:
    """Train as SageMaker asks, and leave the networks where it takes them from; return the exit status."""
    checkpoints = Path(os.environ.get("MSG_GAN_CHECKPOINTS", CHECKPOINTS))
    command = training_command(sys.argv[1:], os.environ, checkpoints)

    # SageMaker sends SIGTERM when the job is stopped or a spot instance is taken away, and gives it two minutes.
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    status = process.wait()

    # Networks are of use even if the run has not come to its end.
    if os.environ.get("SM_MODEL_DIR"):
        hand_over(checkpoints, Path(os.environ["SM_MODEL_DIR"]))
    return status


def training_command(hyperparameters: list[str], sagemaker: Mapping[str, str], checkpoints: Path) -> list[str]:
    """Return what Python has to run on this machine; raise UserError if SageMaker's variables make no sense.

    hyperparameters: `--NAME VALUE` pairs, as SageMaker passes them; `preset` is the preset, all others are options.
    """
    try:
        hosts: list[str] = sorted(json.loads(sagemaker.get("SM_HOSTS", '["algo-1"]')))
        host = hosts.index(sagemaker.get("SM_CURRENT_HOST", hosts[0]))
        processes = max(1, int(sagemaker.get("SM_NUM_GPUS", 1)))
    except (ValueError, TypeError, IndexError) as e:
        raise UserError(f"SM_HOSTS, SM_CURRENT_HOST, SM_NUM_GPUS: {e}, expected what SageMaker sets") from e

    preset, options = _options(hyperparameters)
    if "data" not in options and "SM_CHANNEL_TRAINING" in sagemaker:
        options["data"] = sagemaker["SM_CHANNEL_TRAINING"]
    options = {"resume": "auto", "result-dir": str(checkpoints), **options, "gpus": str(processes * len(hosts))}

    arguments = [str(ROOT / "train.py"), preset]
    for name, value in options.items():
        # Hyperparameters have a value in any case, switches have none.
        if value.lower() in ("true", "false"):
            group, _, last = name.rpartition(".")
            arguments.append(f"--{group}{'.' * bool(group)}{'no-' * (value.lower() == 'false')}{last}")
        else:
            arguments += [f"--{name}", value]

    # One machine starts its processes by itself.
    if len(hosts) == 1:
        return arguments
    elastic = [f"--nnodes={len(hosts)}", f"--node-rank={host}", f"--nproc-per-node={processes}"]
    meeting = [f"--master-addr={hosts[0]}", f"--master-port={PORT}"]
    return ["-m", "torch.distributed.run", *elastic, *meeting, *arguments]


def hand_over(checkpoints: Path, model_dir: Path) -> None:
    """Copy the newest network and the options of the newest run to where SageMaker takes the model from."""
    snapshots = sorted(checkpoints.glob("*/network-snapshot-*.safetensors"), key=lambda path: path.stat().st_mtime)
    if not snapshots:
        return
    make_dir(model_dir)
    shutil.copy(snapshots[-1], model_dir / "network.safetensors")
    with contextlib.suppress(FileNotFoundError):
        shutil.copy(snapshots[-1].parent / "config.json", model_dir)


def _options(hyperparameters: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the preset and the options by name."""
    names, values = hyperparameters[::2], hyperparameters[1::2]
    if len(names) != len(values) or not all(name.startswith("--") for name in names):
        raise UserError(f"hyperparameters {hyperparameters}: expected pairs of --NAME VALUE")
    options = {name[2:].replace("_", "-"): value for name, value in zip(names, values, strict=True)}
    return options.pop("preset", "robohash"), options
