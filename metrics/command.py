"""run_metrics.py's command."""

import signal
import sys
from collections.abc import Callable
from functools import partial

import torch
import tyro

from dnnlib import cli, distributed
from dnnlib.launch import INTERRUPTED, launch
from dnnlib.pool import cpu_count
from metrics.catalog import Chosen, choose
from metrics.networks import NetworkFile, resolve
from metrics.options import Options
from metrics.session import Session, Settings
from training.data.dataset import open_dataset

Load = Callable[[str], NetworkFile]


def main(load: Load) -> int:
    """Parse the command line and score; `load` opens network files."""
    parse = partial(tyro.cli, Options, prog="run_metrics.py", description=Options.__doc__)
    options: Options = cli.one_line_errors(parse)
    metrics = choose(options.metrics)
    return launch(partial(evaluate, load, metrics), options, options.gpus)


def evaluate(load: Load, metrics: list[Chosen], options: Options) -> None:
    """Score what the options name; called once in each process."""
    device = distributed.pick_device(options.device)
    if device.type == "cpu" and options.gpus > 1:
        torch.set_num_threads(max(1, cpu_count() // options.gpus))
    distributed.init(device)
    is_main = distributed.is_main()

    interrupted = False
    try:
        score_all(load, metrics, options, device)
    except KeyboardInterrupt:
        # The launcher passes the signal on to workers, which had it already.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        interrupted = True
    finally:
        distributed.shutdown()

    if interrupted:  # by now the progress bar is gone, and readers have ended
        if is_main:
            print("interrupted; the results above are kept", file=sys.stderr)
        sys.exit(INTERRUPTED)


def score_all(load: Load, metrics: list[Chosen], options: Options, device: torch.device) -> None:
    """Measure all metrics of all networks, or of the images."""
    # A run may be in progress: all processes must see the same snapshots of it.
    resolved = distributed.on_main(lambda: resolve(options))

    # Networks may be of a smaller level than their dataset.
    resolution = load(resolved.networks[0].network).spec.resolution if resolved.networks else None
    dataset = open_dataset(resolved.data, resolution, resolved.use_labels) if resolved.data else None

    settings = Settings(
        metrics=metrics,
        detectors=options.detectors,
        mirror=resolved.mirror,
        seed=resolved.seed,
        batch=options.batch,
        trunc=options.trunc,
        crop=options.crop,
        class_idx=options.class_idx,
        per_class=options.per_class,
        repeats=options.repeats,
        cache_dir=options.cache_dir,
        out=options.out,
    )
    session = Session(load, settings, device, dataset, resolved.run_dir)
    session.load_detectors()

    if options.images is not None:
        session.score_images(open_dataset(options.images))
    for snapshot in resolved.networks:
        session.score_network(snapshot)
