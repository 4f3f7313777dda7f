"""The training loop."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.stop_request import StopRequest
from dnnlib.watchdog import Watchdog
from training.config import TrainConfig
from training.data.balanced import BalancedOrder
from training.data.dataset import Dataset, open_dataset
from training.data.labels import LabelTable, OneHot, class_numbers
from training.data.sampler import SampleOrder, batches
from training.data.streaming import StreamOrder, stream_batches, stretch_length
from training.ema import ema_beta, update_ema
from training.run.auto_precision import choose_precision
from training.run.checkpoint import restore, save_checkpoint
from training.run.hooks import Hook, LoadWeights, SavedSnapshot
from training.run.micro_batch import choose_micro_batch
from training.run.mirror import open_any_run, uploaded
from training.run.recovery import Diverged, check_divergence, check_steps, recover
from training.run.report import Report
from training.run.run_dir import Run
from training.run.threads import RunThreads
from training.spec import ImageSpec
from training.state import TrainState
from training.update import OutOfMemory, Updater

Batches = Generator[tuple[np.ndarray, np.ndarray], None, None]
"""Images uint8 [N,C,H,W] and labels [N,c_dim] of one step after the other."""


def training_loop(
    cfg: TrainConfig,
    device: torch.device,
    stop: StopRequest,
    load_weights: LoadWeights,
    hooks: Sequence[Hook],
) -> None:
    """Train until the run is finished or asked to stop. All processes call it together.

    stop: asked after each step. load_weights: reads the networks of `cfg.init`.
    hooks: called with a snapshot after it was saved, e.g. to score it.
    """
    dataset = open_dataset(Path(cfg.data), cfg.resolution, cfg.use_labels, cfg.stream)
    if cfg.stream and len(set(distributed.gather_objects(dataset.fingerprint()))) > 1:
        raise UserError(f"{cfg.data}: changed while the processes opened it")
    run = distributed.on_main(lambda: open_any_run(cfg, dataset))
    stop.file = run.stop_file

    # Usually one attempt is all; after a divergence, or if memory does not suffice, there are others.
    heartbeat = run.path / "heartbeat.json" if cfg.heartbeat else None
    with uploaded(run.mirror), closing(Watchdog(cfg.hang_timeout, heartbeat)) as watchdog:
        while True:
            try:
                return _attempt(cfg, run, dataset, device, stop, watchdog, load_weights, hooks)
            except (Diverged, OutOfMemory) as e:
                problem = e.with_traceback(None)  # which would keep the networks in memory
            cfg, run = recover(problem, cfg, run, dataset.spec)


def _attempt(
    cfg: TrainConfig,
    run: Run,
    dataset: Dataset,
    device: torch.device,
    stop: StopRequest,
    watchdog: Watchdog,
    load_weights: LoadWeights,
    hooks: Sequence[Hook],
) -> None:
    """Train from the checkpoint of a run, or from its start, as `training_loop` does.

    Raise Diverged or OutOfMemory for what a further attempt may avoid.
    """
    # Where it starts: networks, optimizers, data.
    watchdog.now("building the networks")
    with run.discarded_on_failure():
        state = _initial_state(cfg, run, dataset.spec, device, load_weights)
        cfg = state.cfg
        threads = RunThreads(state, device)
        updater = Updater(state, _labels_for_fakes(cfg, dataset.labels))
        report = Report(run, state, dataset, device)
    data = _batches_of_this_process(cfg, dataset, state.cur_nimg)

    def asked_to_stop() -> bool:
        watchdog.now(f"asking whether to stop at {state.where}")
        return stop()

    with closing(report), closing(data):
        watchdog.now("drawing the first sheets")
        report.start()
        distributed.barrier()

        # A run that was killed after its last checkpoint has only this left to do.
        if state.finished and distributed.on_main(report.snapshot_path.exists):
            _call_hooks(report, hooks, asked_to_stop)

        clock = time.perf_counter()
        while not state.finished:
            rates = _step(state, updater, data, watchdog)

            # A tick lasts until its last step is done.
            if device.type == "cuda" and (state.finished or state.tick_is_over):
                torch.cuda.synchronize(device)

            # The bar shows the time of training alone.
            now = time.perf_counter()
            state.tick_sec += now - clock
            state.total_sec += now - clock
            report.progress(now - clock)
            clock = now

            if state.finished or state.tick_is_over:
                watchdog.now(f"end of the tick at {state.where}")
                _end_tick(state, report, rates, threads, hooks, asked_to_stop)
                report.maintenance_sec = time.perf_counter() - clock
                state.total_sec += report.maintenance_sec
                clock = time.perf_counter()

            threads.after_step()

            # If asked to stop, keep everything up to this step.
            if not state.finished and asked_to_stop():
                save_checkpoint(run.path, state, off_tick=True)
                break

        watchdog.now(f"end of the run at {state.where}")
        if state.finished:
            check_steps(state)
        report.end()
        distributed.barrier()


def _step(state: TrainState, updater: Updater, data: Batches, watchdog: Watchdog) -> tuple[float, float]:
    """Take the D steps and the G step of one iteration. Return the learning rates of G and D."""
    cfg = state.cfg
    lr_factor = cfg.lr_factor(state.cur_nimg) / 2**state.rollbacks
    lr_D = cfg.D_opt.lr_after(state.cur_nimg) * lr_factor
    lr_G = cfg.G_opt.lr_after(state.cur_nimg) * lr_factor

    # D steps, each followed by the moving average of G, whose decay is per batch of real images. As in the original,
    # the average lags one G step behind.
    for _ in range(cfg.d_repeats):
        watchdog.now(f"reading images at {state.where}")
        wait_start = time.perf_counter()
        images, labels = next(data)
        state.wait_sec += time.perf_counter() - wait_start

        watchdog.now(f"D step at {state.where}")
        updater.d_update(images, labels, lr_D)
        state.cur_nimg += cfg.batch
        update_ema(state.ema_flat, state.G_opt.flat, state.G_ema, state.G, ema_beta(cfg, state.cur_nimg))

    # G step.
    watchdog.now(f"G step at {state.where}")
    updater.g_update(lr_G)
    return lr_G, lr_D


def _end_tick(
    state: TrainState,
    report: Report,
    rates: tuple[float, float],
    threads: RunThreads,
    hooks: Sequence[Hook],
    stop: Callable[[], bool],
) -> None:
    """Write statistics, sheets, snapshot, and last the checkpoint: where it exists, the others do too."""
    tick = state.end_tick()
    report.tick(tick, *rates)
    check_divergence(state, tick, report.say)
    threads.advise(report.say)

    # Not after every tick, but always at the end.
    if state.finished or tick.completes(state.cfg.image_snapshot_ticks):
        report.save_sheets()
    if state.finished or tick.completes(state.cfg.network_snapshot_ticks):
        _save_networks(report, hooks, stop)
        if report.run.mirror:
            report.run.mirror.push()


def _initial_state(
    cfg: TrainConfig, run: Run, spec: ImageSpec, device: torch.device, load_weights: LoadWeights
) -> TrainState:
    """Return the state that a run starts from: fresh, from a checkpoint, or with the weights of other networks.

    Its options have no `auto` left.
    """
    cfg = choose_micro_batch(cfg, spec, run.checkpoint)
    cfg = choose_precision(cfg, spec, device, run.checkpoint)

    state = TrainState(cfg, spec, device)
    if run.checkpoint:
        restore(state, run.checkpoint)

        # A new run that goes on from another run's checkpoint needs one of its own, in case it is killed early.
        if run.checkpoint.parent != run.path:
            save_checkpoint(run.path, state, off_tick=True)
    elif cfg.init:
        run.messages += state.start_from(load_weights(cfg.init))
    state.rollbacks = max(state.rollbacks, run.rollbacks)
    return state


def _labels_for_fakes(cfg: TrainConfig, labels: LabelTable) -> LabelTable:
    """Return the table from whose rows the labels of fakes are drawn: the dataset's, or one row for each class."""
    if not cfg.balance_classes:
        return labels
    return OneHot(np.unique(class_numbers(labels)), labels.shape[1])


def _batches_of_this_process(cfg: TrainConfig, dataset: Dataset, cur_nimg: int) -> Batches:
    """Yield this process's part of each batch, from image `cur_nimg` on: images and labels, read ahead."""
    # Processes take successive parts of each batch.
    per_process = cfg.batch // cfg.gpus
    first = distributed.rank() * per_process
    if cfg.stream:
        spec = dataset.spec
        stretch = stretch_length(len(dataset), spec.channels * spec.resolution * spec.width, cfg.batch)
        stream_order = StreamOrder(len(dataset), cfg.seed, cfg.mirror, cfg.batch, stretch)
        return stream_batches(dataset.batch, stream_order, cur_nimg, first, per_process)

    order: SampleOrder | BalancedOrder = SampleOrder(len(dataset), cfg.seed, cfg.mirror)
    if cfg.balance_classes:
        order = BalancedOrder(class_numbers(dataset.labels), cfg.seed, cfg.mirror)
    return batches(dataset, order, cur_nimg, cfg.batch, first, per_process, distributed.cores())


def _save_networks(report: Report, hooks: Sequence[Hook], stop: Callable[[], bool]) -> None:
    """Write a network snapshot and its checkpoint; call the hooks if this snapshot is to be scored."""
    cfg, state = report.cfg, report.state
    report.save_snapshot()
    save_checkpoint(report.run.path, state)

    # The number of this snapshot, since there is one every so many ticks.
    number = state.tick // max(1, cfg.network_snapshot_ticks)
    if state.finished or number % cfg.metric_every == 0:
        _call_hooks(report, hooks, stop)


def _call_hooks(report: Report, hooks: Sequence[Hook], stop: Callable[[], bool]) -> None:
    """Call the hooks with the network snapshot of this moment."""
    distributed.barrier()  # hooks may read the files that the main process writes
    cfg, run_dir, G_ema = report.cfg, report.run.path, report.state.G_ema
    snapshot = SavedSnapshot(cfg, run_dir, report.snapshot_path, G_ema, report.dataset, report.device, report.say, stop)
    for hook in hooks:
        hook(snapshot)
