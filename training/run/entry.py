"""The entry to a training run: checks beforehand, and what each process sets up and tears down."""

import errno
from collections.abc import Sequence
from pathlib import Path

import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.files import os_error
from dnnlib.stop_request import StopRequest
from training.config import TrainConfig
from training.data.dataset import open_dataset
from training.data.labels import class_numbers
from training.precision import choose_kernels
from training.run.hooks import Hook, LoadWeights
from training.run.loop import training_loop
from training.state import check_networks
from training.warm_start import check_fit

# What a disk that is full, read-only or broken gives: the user can mend it, so it is reported in one line.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# Dataset files up to this size have all their checksums verified before training; larger ones would take minutes.
VERIFY_BYTES = 2**30


def check(cfg: TrainConfig, load_weights: LoadWeights) -> None:
    """Check what can be checked before any process starts or folder is made.

    Raise UserError if the dataset is missing or damaged, if no networks can be built for it, or if the files of `init`
    hold nothing to start from.
    """
    dataset = open_dataset(Path(cfg.data), cfg.resolution, cfg.use_labels, cfg.stream)
    dataset.verify(VERIFY_BYTES)
    G = check_networks(cfg, dataset.spec)
    if cfg.balance_classes:
        class_numbers(dataset.labels)

    if cfg.init:
        try:
            check_fit(G, load_weights(cfg.init))
        except UserError:
            # A run that is continued has started from these files already, and does not need them any more.
            if cfg.resume == "none":
                raise


def train(cfg: TrainConfig, load_weights: LoadWeights, hooks: Sequence[Hook] = ()) -> None:
    """Train as `cfg` says until the run is finished or a signal arrives; called once in each process.

    load_weights opens the files of `cfg.init`; hooks are called at each network snapshot. Raise UserError for what the
    user can mend.
    """
    # Processes on a CPU share its cores.
    device = distributed.pick_device(cfg.device)
    if device.type == "cpu" and cfg.gpus > 1:
        torch.set_num_threads(distributed.cores())

    choose_kernels(cfg.deterministic)
    # Where a process hangs, the watchdog says so before the others give up.
    distributed.init(device, timeout=3 * cfg.hang_timeout)
    if distributed.world_size() != cfg.gpus:
        raise UserError(f"--gpus {cfg.gpus}: started with {distributed.world_size()} processes")

    stop = StopRequest()
    try:
        training_loop(cfg, device, stop, load_weights, hooks)
    except OSError as e:
        if e.errno not in DISK_ERRORS:
            raise
        raise os_error(e, Path(e.filename or cfg.result_dir), "write") from e
    finally:
        stop.restore()

    # Not after an error: the others would fail for the lack of this process before its error is known.
    distributed.shutdown()
