"""The command of run_metrics.py."""

import signal
import sys
from functools import partial

import torch
import tyro

from dnnlib import cli, distributed
from dnnlib.cpu_threads import share_cores
from dnnlib.errors import UserError
from dnnlib.launch import INTERRUPTED, launch
from metrics.networks import Load, find_target
from metrics.options import Options
from metrics.session import Session
from training.data.dataset import open_dataset


def main(load: Load) -> int:
    """Parse the command line, score what it names, and return the exit status."""
    parse = partial(tyro.cli, Options, prog="run_metrics.py", description=Options.__doc__)
    options: Options = cli.one_line_errors(parse)
    return launch(partial(evaluate, load), options, options.gpus)


def evaluate(load: Load, options: Options) -> None:
    """Score what the options name; called once in each process."""
    device = distributed.pick_device(options.device)
    if device.type == "cpu" and options.gpus > 1:
        torch.set_num_threads(distributed.cores())
    elif device.type == "cpu":
        share_cores()
    distributed.init(device)
    is_main = distributed.is_main()

    interrupted = False
    try:
        score_all(load, options, device)
    except KeyboardInterrupt:
        # The launcher passes the signal on to workers, which had it already.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        interrupted = True
    finally:
        distributed.shutdown()

    # By now the progress bar is gone, and readers have ended.
    if interrupted:
        if is_main:
            print("interrupted; the results above are kept", file=sys.stderr)
        sys.exit(INTERRUPTED)


def score_all(load: Load, options: Options, device: torch.device) -> None:
    """Measure all metrics of all networks, or of the images.

    Raise UserError if one cannot be measured, of several networks after all others have been.
    """
    # A run may be in progress: all processes must see the same snapshots of it.
    target = distributed.on_main(lambda: find_target(options))

    # Networks may be of a smaller level than their dataset. Of several snapshots, one may be damaged.
    several = len(target.snapshots) > 1
    resolution = None
    for snapshot in target.snapshots:
        try:
            resolution = load(snapshot.network).spec.resolution
            break
        except UserError:
            if not several:
                raise
    dataset = open_dataset(target.data, resolution, target.use_labels) if target.data else None

    session = Session(load, target.settings, device, dataset, target.run_dir)
    session.load_detectors()
    if options.images is not None:
        session.score_images(open_dataset(options.images))
    for snapshot in target.snapshots:
        session.score_network(snapshot, keep_going=several)
    if session.failures and several:
        raise UserError(f"not everything was measured ({len(session.failures)} failed): {session.failures[0]}")
