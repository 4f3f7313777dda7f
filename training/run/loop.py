"""The training loop."""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from dnnlib import distributed
from dnnlib.pool import cpu_count
from training.config import TrainConfig
from training.data.dataset import open_dataset
from training.data.sampler import SampleOrder, batches
from training.ema import ema_beta, update_ema
from training.run.checkpoint import restore, save_checkpoint
from training.run.hooks import Hook, LoadWeights, SavedSnapshot
from training.run.report import open_report
from training.run.run_dir import open_run_together
from training.state import TrainState
from training.update import Updater


def training_loop(
    cfg: TrainConfig,
    device: torch.device,
    stop: Callable[[], bool],
    load_weights: LoadWeights,
    hooks: Sequence[Hook],
) -> None:
    """Run all steps of a run that are left to do, or those until `stop` says yes; the same on all processes."""
    with contextlib.ExitStack() as stack:
        # Dataset, run dir, and the state: fresh, from a checkpoint, or from the weights of other networks.
        dataset = open_dataset(Path(cfg.data), cfg.resolution, cfg.use_labels)
        run = open_run_together(cfg, dataset)
        state = TrainState(cfg, dataset.spec, device)
        if run.checkpoint:
            restore(state, run.checkpoint)
            if run.checkpoint.parent != run.path:  # a new run that goes on from another's checkpoint
                save_checkpoint(run.path, state, off_tick=True)
        elif cfg.init:
            run.messages += state.start_from(load_weights(cfg.init))
        updater = Updater(state, dataset.labels)

        # Console, logs, sheets and snapshots; nothing of it on processes other than the main one.
        report = open_report(run, state, dataset, device)
        stack.callback(report.close)
        report.start()
        distributed.barrier()

        # This process's part of each batch, read ahead.
        per_process = cfg.batch // cfg.gpus
        order = SampleOrder(len(dataset), cfg.seed, cfg.mirror)
        offset = distributed.rank() * per_process
        workers = max(1, cpu_count() // cfg.gpus)
        data = batches(dataset, order, state.cur_nimg, cfg.batch, offset, per_process, workers)
        stack.callback(data.close)

        clock = time.perf_counter()
        while not state.finished:
            lr_factor = cfg.lr_factor(state.cur_nimg)

            # D steps, each followed by the moving average of G.
            for _ in range(cfg.d_repeats):
                wait_start = time.perf_counter()
                images, labels = next(data)
                state.wait_sec += time.perf_counter() - wait_start

                updater.d_update(images, labels, cfg.D_opt.lr * lr_factor)
                state.cur_nimg += cfg.batch
                update_ema(state.ema_flat, state.G_opt.flat, state.G_ema, state.G, ema_beta(cfg, state.cur_nimg))

            # G step.
            updater.g_update(cfg.G_opt.lr * lr_factor)

            # Time of the step.
            now = time.perf_counter()
            state.tick_sec += now - clock
            state.total_sec += now - clock
            report.progress(now - clock)
            clock = now

            # Once a tick: figures, sheets, snapshot, and then the checkpoint, which vouches for all before it.
            if state.finished or state.tick_is_over:
                tick = state.end_tick()
                report.tick(tick, lr_factor)
                if state.finished or tick.completes(cfg.image_snapshot_ticks):
                    report.save_sheets()

                if state.finished or tick.completes(cfg.network_snapshot_ticks):
                    path = report.save_snapshot()
                    save_checkpoint(run.path, state)

                    snapshot_number = state.tick // max(1, cfg.network_snapshot_ticks)
                    if state.finished or snapshot_number % cfg.metric_every == 0:
                        distributed.barrier()  # the main process has written the files
                        for hook in hooks:
                            hook(SavedSnapshot(cfg, run.path, path, state.G_ema, dataset, device, report.say, stop))

                state.total_sec += time.perf_counter() - clock
                clock = time.perf_counter()

            # Asked to stop: keep everything, to the step.
            if not state.finished and stop():
                save_checkpoint(run.path, state, off_tick=True)
                break

        report.end()
        distributed.barrier()
