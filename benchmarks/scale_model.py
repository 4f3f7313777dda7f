"""What a run of many GPUs on very many images needs, computed from rates of single machines; and a check by counting.

python benchmarks/scale_model.py [--gpus 1000] [--images 1000000000] [--classes 0] [--img-per-s 80] ...
python benchmarks/scale_model.py --check [--json FILE]     (needs `pip install '.[test]'`)

The table has a row for each thing that a run needs, with how much of it there is, and which part of that the run needs.
What breaks first stands at the top. `--check` takes a small dataset, streams it from an object store on this machine as
1, 2, 4 and 8 processes do, trains on it with 1, 2, 4 and 8 processes, and compares the requests, bytes and operations
between processes with what the model says.
"""

import json
import logging
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import tyro
from timing import ROOT, machine, save

from config import PRESETS
from dataprep.writers import TFRecordFiles, pack
from dnnlib.launch import launch
from generation.networks import load_initial
from training.config import TrainConfig
from training.data.labels import no_labels
from training.data.remote_records import RemoteRecords
from training.data.streaming import StreamOrder, stream_batches, stretch_length
from training.networks.architectures import build_discriminator, build_generator
from training.optimizer import ALIGNMENT
from training.run.entry import train
from training.spec import ImageSpec

GIB = 2**30
REQUESTS_PER_S = 5500  # that S3 promises for reading below one prefix
NAMES_A_PAGE = 1000  # of a listing
START_S = 60  # within which a thousand processes should have listed the dataset


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run, and the machines that it has."""

    preset: str = "flowers256"
    """The networks, and the size of images."""
    images: int = 10**9
    """Images of the dataset."""
    classes: int = 0
    """Length of labels; 0 = none."""
    gpus: int = 1000
    """Processes."""
    gpus_per_node: int = 8
    """Processes of a machine."""
    batch_per_gpu: int = 4
    """Images of a process in a step."""
    img_per_s: float = 80.0
    """Training speed of one GPU. The default is the published speed of StyleGAN2 on an A100 (12.5 s/kimg)."""
    shard_mb: int = 10_000
    """Size of a shard."""
    node_gbit_per_s: float = 100.0
    """Network of a machine to the object store."""
    node_memory_gib: float = 512.0
    """Memory of a machine."""
    node_disk_gib: float = 4000.0
    """Disk of a machine."""
    reduce_gb_per_s: float = 20.0
    """Bytes of gradients that are summed over all processes in a second."""
    hop_us: float = 100.0
    """Microseconds that a small message takes from one process to another."""

    @property
    def config(self) -> TrainConfig:
        """The options of the run."""
        return replace(PRESETS[self.preset](), batch=self.gpus * self.batch_per_gpu, gpus=self.gpus)

    @property
    def spec(self) -> ImageSpec:
        """What its images are."""
        return ImageSpec(resolution=self.config.resolution or 64, c_dim=self.classes)

    @property
    def image_bytes(self) -> int:
        """Bytes of the pixels of an image."""
        return self.spec.channels * self.spec.resolution * self.spec.width

    @property
    def record_bytes(self) -> int:
        """Bytes of a record."""
        image = np.zeros((self.spec.channels, self.spec.resolution, self.spec.width), np.uint8)
        return len(pack(image, "tfrecords")[0])

    @property
    def stretch(self) -> int:
        """Images of a stretch."""
        return stretch_length(self.images, self.image_bytes, self.config.batch)

    @property
    def step_s(self) -> float:
        """Seconds of a step, if nothing but the networks took time."""
        return self.batch_per_gpu / self.img_per_s


class Need(NamedTuple):
    """Something that a run needs."""

    what: str
    amount: float
    limit: float
    unit: str


def gradient_values(plan: Plan) -> tuple[int, int]:
    """Return how many numbers are summed over all processes in a D step and in a G step: gradients and a mean of w."""
    # Tensors on this device have shapes only.
    with torch.device("meta"):
        networks = build_discriminator(plan.config.D, plan.spec), build_generator(plan.config.G, plan.spec)

    # Each parameter takes a multiple of ALIGNMENT values in the buffer that is summed.
    d, g = (sum(-(-p.numel() // ALIGNMENT) * ALIGNMENT for p in net.parameters()) for net in networks)
    w_dim = len(networks[1].mapping.w_avg)
    return d + w_dim, g + w_dim


def needs(plan: Plan) -> list[Need]:
    """Return what a run needs, the scarcest thing first."""
    nodes = math.ceil(plan.gpus / plan.gpus_per_node)
    speed = plan.gpus * plan.img_per_s  # img/s of all
    memory, disk = plan.node_memory_gib / plan.gpus_per_node, plan.node_disk_gib
    shards = math.ceil(plan.images * plan.record_bytes / (plan.shard_mb * 10**6))

    # At the start each process lists the files of all resolutions, and reads one record of each in two requests.
    resolutions = len(plan.spec.sizes)
    names = shards * 4 / 3
    at_start = plan.gpus * (math.ceil(names / NAMES_A_PAGE) + 2 * resolutions)
    values = sum(gradient_values(plan))

    rows = [
        Need("bytes read, a machine", speed * plan.record_bytes / nodes * 8e-9, plan.node_gbit_per_s, "Gbit/s"),
        Need("requests, all", speed / plan.stretch, REQUESTS_PER_S, "/s"),
        Need("requests at the start, all", at_start, START_S * REQUESTS_PER_S, ""),
        Need("stretches, a process", 2 * plan.batch_per_gpu * plan.stretch * plan.image_bytes / GIB, memory, "GiB"),
        Need("metrics: order of reals, a process", 32 * plan.images / GIB, memory, "GiB"),
        Need("list of files, a process", names * 1000 / GIB, memory, "GiB"),
        Need("labels, a machine's disk", 4 * plan.images * plan.classes / GIB, disk, "GiB"),
        Need("sum of gradients, a step", 4 * values / plan.reduce_gb_per_s * 1e-9, plan.step_s, "s"),
        Need("flag to stop, a step", math.ceil(math.log2(plan.gpus)) * plan.hop_us * 1e-6, plan.step_s, "s"),
        Need("without --stream: copy, a machine's disk", plan.images * plan.record_bytes * 4 / 3 / GIB, disk, "GiB"),
        Need("without --stream: index, a process", 16 * plan.images * resolutions / GIB, memory, "GiB"),
    ]
    return sorted(rows, key=lambda need: -need.amount / need.limit)


def print_plan(plan: Plan) -> None:
    """Print what a run needs, and the figures that this follows from."""
    speed, step_ms = plan.gpus * plan.img_per_s, plan.step_s * 1e3
    terabytes = plan.images * plan.record_bytes / 1e12
    print(f"{plan.gpus:,} GPUs of {plan.img_per_s:g} img/s, batch {plan.config.batch:,}, {step_ms:.0f} ms a step")
    print(f"{plan.images:,} images of {plan.spec.size_text}, {terabytes:.1f} TB, in stretches of {plan.stretch}")
    print(f"an epoch takes {plan.images / speed / 3600:.1f} h and {plan.images / plan.stretch:,.0f} requests")

    making = json.loads((ROOT / "benchmarks" / "dataset_cpu.json").read_text())["making"]
    rate = making["images"] / making["ours"]["cpu_seconds"]
    days = plan.images / rate / 86400
    print(f"conversion takes {days:,.1f} days of a core (from JPEGs of 1 MP, {rate:.0f} img/s a core)\n")

    print(f"{'need':42}{'amount':>14}{'there is':>14}{'part':>10}")
    for what, amount, limit, unit in needs(plan):
        print(f"{what:42}{amount:>14,.4g}{limit:>14,.4g}{amount / limit:>10.1%} {unit}")


def counts(plan: Plan) -> list[dict[str, Any]]:
    """Count what reading and training take with 1, 2, 4 and 8 processes; return a row for each number."""
    from tests.object_server import BUCKET, ObjectServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        server = ObjectServer()
        os.environ |= server.env | {"XDG_CACHE_HOME": f"{folder}/cache"}
        try:
            upload(plan, Path(folder) / "data", f"s3://{BUCKET}/data")
            for gpus in (1, 2, 4, 8):
                of = replace(plan, gpus=gpus, batch_per_gpu=plan.batch_per_gpu // gpus)
                rows.append({"processes": gpus, **count_reading(of, server, f"s3://{BUCKET}/data")})
                rows[-1] |= count_operations(of, Path(folder) / str(gpus), Path(folder) / "data")
        finally:
            server.close()
    return rows


def upload(plan: Plan, path: Path, url: str) -> None:
    """Write a dataset of noise, and copy it to the object store."""
    import fsspec

    rng = np.random.default_rng(0)
    writer = TFRecordFiles(path, "data")

    for i in range(plan.images):
        image = rng.integers(256, size=(plan.spec.channels, *plan.spec.sizes[-1]), dtype=np.uint8)
        writer.add(i, pack(image, "tfrecords"))
    writer.finish({}, no_labels(plan.images))
    writer.close()

    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fs.mkdir(url.split("/")[2])
    fs.put(str(path), url, recursive=True)


def count_reading(plan: Plan, server: Any, url: str) -> dict[str, Any]:
    """Stream as all processes do together; return what was asked for, and what the model says.

    Each place in the batch has thirteen turns, which are a little less than two epochs, and up to one turn more is read
    ahead. A turn is a request, or a few where the dataset or an epoch ends within it.
    """
    turns = 13
    stretch = plan.images // plan.config.batch // 6 - 1
    # What opening the dataset takes does not count.
    datasets = [RemoteRecords(url) for _ in range(plan.gpus)]
    server.ranges.clear()
    server.bytes_sent.clear()
    order = StreamOrder(plan.images, 0, False, plan.config.batch, stretch)

    # One process after another, in this one.
    start = time.perf_counter()
    for process, dataset in enumerate(datasets):
        batches = stream_batches(dataset.batch, order, 0, process * plan.batch_per_gpu, plan.batch_per_gpu)
        for _ in range(turns * stretch):
            next(batches)
        batches.close()
    seconds = time.perf_counter() - start

    batch, turn_bytes = plan.config.batch, stretch * plan.record_bytes
    return {
        "requests": len(server.ranges),
        "requests of the model": [turns * batch, (turns + 1) * batch + 3 * 3],
        "bytes": sum(server.bytes_sent.values()),
        "bytes of the model": [turns * batch * turn_bytes, (turns + 1) * batch * turn_bytes],
        "img/s": round(turns * stretch * batch / seconds),
    }


def count_operations(plan: Plan, results: Path, data: Path) -> dict[str, Any]:
    """Train for a few steps; return the operations between processes in a step, and what the model says."""
    results.mkdir()
    cfg = replace(plan.config, data=str(data), result_dir=str(results), device="cpu", micro_batch=plan.batch_per_gpu,
                  tick_kimg=1, total_kimg=1, metrics="", hang_timeout=0)  # fmt: skip

    # Two runs that differ by four steps.
    found = []
    for steps in (2, 6):
        short = replace(cfg, total_kimg=steps * cfg.batch / 1000, tick_kimg=steps * cfg.batch / 1000)
        launch(partial(counted, path=results / f"{steps}.json"), short, plan.gpus)
        found.append(Counter({tuple(key): n for key, n in json.loads((results / f"{steps}.json").read_text())}))

    per_step = {f"{name} of {size:,} numbers": n / 4 for (name, size), n in sorted((found[1] - found[0]).items())}
    model = Counter(f"all_reduce of {size:,} numbers" for size in gradient_values(plan))
    model["broadcast of 1 numbers"] = 1
    return {"operations a step": per_step, "operations of the model": dict(model) if plan.gpus > 1 else {}}


def counted(cfg: TrainConfig, path: Path) -> None:
    """Train, and write how often each operation between processes was called, with the number of values."""
    calls: Counter[tuple[str, int]] = Counter()

    def count(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            calls[name, tensor.numel()] += 1
            return function(tensor, *args, **kwargs)

        return call

    torch.set_num_threads(1)
    dist.all_reduce = count("all_reduce", dist.all_reduce)
    dist.broadcast = count("broadcast", dist.broadcast)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        train(cfg, load_initial)
    if int(os.environ.get("RANK", 0)) == 0:
        path.write_text(json.dumps(list(calls.items())))


def main(
    plan: Plan,
    check: bool = False,
    output: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Print the table, or check the model.

    Args:
        plan: The run.
        check: Compare the model with what can be counted on this machine.
        output: Also write the figures of the check to this file.
    """
    if not check:
        return print_plan(plan)

    small = Plan(preset="tiny", images=480, gpus=1, batch_per_gpu=8)
    save({**machine(torch.device("cpu")), "images": small.images, "counts": counts(small)}, output)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__, config=(tyro.conf.OmitArgPrefixes,))
