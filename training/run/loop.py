"""The training loop."""

import contextlib
import errno
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.files import os_error
from dnnlib.pool import cpu_count
from dnnlib.stats import RunLog, format_time
from training.config import TrainConfig
from training.data.dataset import Dataset, open_dataset
from training.data.sampler import SampleOrder, batches
from training.ema import ema_beta, update_ema
from training.networks.base import Discriminator, Generator
from training.precision import resolve_precision
from training.run.hooks import Hook, SavedSnapshot
from training.run.run_dir import Run, open_run, write_config
from training.run.sheets import Sheets
from training.run.snapshot import save_snapshot
from training.state import TrainState, check_networks, label, save_checkpoint, tick_of
from training.update import Updater
from training.warm_start import Initial, check_fit

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
VERIFY_BYTES = 2**30  # a dataset file up to this size has all its checksums verified before training


class Stop:
    """Has someone asked this run to end? SIGTERM and SIGINT do; a second SIGINT ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        self.parent = os.getppid()
        self.previous = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True

    def __call__(self) -> bool:
        """The same answer on all processes."""
        orphaned = distributed.world_size() > 1 and os.getppid() != self.parent  # the launcher was killed
        if orphaned:
            os._exit(1)
        return distributed.any_rank(self.asked)

    def restore(self) -> None:
        for s, handler in self.previous.items():
            signal.signal(s, handler)


LoadInitial = Callable[[Sequence[str]], Initial]


def check(cfg: TrainConfig, load_initial: LoadInitial) -> None:
    """What can be told before any process starts or folder is made: UserError if the dataset is missing or damaged, if
    no networks can be built for it, or if there is nothing in the files of `init` to start from."""
    dataset = open_dataset(Path(cfg.data), cfg.resolution, cfg.use_labels)
    dataset.verify(VERIFY_BYTES)
    G = check_networks(cfg, dataset.spec)
    if cfg.init:
        try:
            check_fit(G, load_initial(cfg.init))
        except UserError:
            if cfg.resume == "none":  # a run to continue has started from it already
                raise


def train(cfg: TrainConfig, load_initial: LoadInitial, hooks: Sequence[Hook] = ()) -> None:
    """Train from `cfg` to its end, or until a signal; called once in each process. `load_initial` opens the files of
    `cfg.init`, `hooks` are called at each network snapshot. UserError says what is wrong."""
    device = distributed.pick_device(cfg.device)
    if device.type == "cpu" and cfg.gpus > 1:
        torch.set_num_threads(max(1, cpu_count() // cfg.gpus))
    torch.backends.cudnn.deterministic = True  # a resumed run repeats the bits of one never stopped
    distributed.init(device)
    if distributed.world_size() != cfg.gpus:
        raise UserError(f"--gpus {cfg.gpus}: started with {distributed.world_size()} processes")
    stop = Stop()
    try:
        with contextlib.ExitStack() as stack:
            _train(cfg, device, stop, stack, load_initial, hooks)
    except OSError as e:
        if e.errno not in DISK_ERRORS:
            raise
        raise os_error(e, Path(e.filename or cfg.result_dir), "write") from e
    finally:
        stop.restore()
        distributed.shutdown()


def _open(cfg: TrainConfig, dataset: Dataset) -> Run:
    """The main process opens the run dir, the others learn what it found."""
    error, run = None, None
    if distributed.is_main():
        try:
            run = open_run(cfg, dataset)
        except UserError as e:
            error = e
    error, shared = distributed.broadcast_object((error, (run.path, run.checkpoint) if run else None))
    if error:
        raise error
    path, checkpoint = shared or (Path(), None)
    return run or Run(path, None, checkpoint, [])


def _train(
    cfg: TrainConfig,
    device: torch.device,
    stop: Stop,
    stack: contextlib.ExitStack,
    load_initial: LoadInitial,
    hooks: Sequence[Hook],
) -> None:
    # Data, state, run dir.
    dataset = open_dataset(Path(cfg.data), cfg.resolution, cfg.use_labels)
    run = _open(cfg, dataset)
    main = distributed.is_main()
    state = TrainState(cfg, dataset.spec, device)
    if run.checkpoint:
        state.load(run.checkpoint)
        if run.checkpoint.parent != run.path:  # a new run that goes on from another's checkpoint
            save_checkpoint(run.path, state, off_tick=True)
    elif cfg.init:
        run.messages += state.start_from(load_initial(cfg.init))
    updater = Updater(state, dataset.labels)
    sheets = Sheets(cfg, dataset, device)
    total_nimg = round(cfg.total_kimg * 1000)
    report = Report(cfg, state, run, stack, device) if main else None
    if report:
        report.start(dataset)
        sheets.save_reals(run.path)
        if state.cur_nimg == 0:
            sheets.save_fakes(run.path, state.G_ema, label(cfg, 0))
    distributed.barrier()

    per_rank = cfg.batch // cfg.gpus
    order = SampleOrder(len(dataset), cfg.seed, cfg.mirror)
    workers = max(1, cpu_count() // cfg.gpus)
    data = batches(dataset, order, state.cur_nimg, cfg.batch, distributed.rank() * per_rank, per_rank, workers)
    stack.callback(data.close)
    block = cfg.minibatch_repeats * cfg.d_repeats * cfg.batch  # images between looks at the schedule
    clock = time.perf_counter()

    while state.cur_nimg < total_nimg:
        schedule_nimg = state.cur_nimg // block * block
        warmup = min(schedule_nimg / (cfg.lr_warmup_kimg * 1000), 1.0) if cfg.lr_warmup_kimg else 1.0

        for _ in range(cfg.d_repeats):
            waited = time.perf_counter()
            images, labels = next(data)
            state.wait_sec += time.perf_counter() - waited
            updater.d_update(images, labels, cfg.D_opt.lr * warmup)
            state.cur_nimg += cfg.batch
            update_ema(state.ema_flat, state.G_opt.flat, state.G_ema, state.G, ema_beta(cfg, state.cur_nimg))
        updater.g_update(cfg.G_opt.lr * warmup)

        now = time.perf_counter()
        state.tick_sec += now - clock
        state.total_sec += now - clock
        if report:
            report.progress(now - clock)
        clock = now

        # Once per tick: figures, sheets, snapshot, and the checkpoint last, so that it vouches for all before it.
        done = state.cur_nimg >= total_nimg
        looking = state.cur_nimg // block > (state.cur_nimg - cfg.d_repeats * cfg.batch) // block
        ended = looking and tick_of(cfg, state.cur_nimg) > state.tick
        if done or ended:
            before, state.tick = state.tick, tick_of(cfg, state.cur_nimg)
            averages = state.averages.take()
            if report:
                report.tick(averages, warmup, max(state.tick, before + 1))
                if done or _due(cfg.image_snapshot_ticks, before, state.tick):
                    sheets.save_fakes(run.path, state.G_ema, label(cfg, state.cur_nimg))
            state.tick_start_nimg, state.tick_sec, state.wait_sec = state.cur_nimg, 0.0, 0.0
            if done or _due(cfg.network_snapshot_ticks, before, state.tick):
                name = f"network-snapshot-{label(cfg, state.cur_nimg)}.safetensors"
                if main:
                    networks: dict[str, Generator | Discriminator] = {"G": state.G, "D": state.D, "G_ema": state.G_ema}
                    save_snapshot(run.path / name, networks, dataset.spec, state.cur_nimg)
                save_checkpoint(run.path, state)
                count = state.tick // max(1, cfg.network_snapshot_ticks)
                if done or count % cfg.metric_every == 0:
                    say = report.say if report else _quiet
                    for hook in hooks:
                        hook(SavedSnapshot(cfg, run.path, run.path / name, state.G_ema, dataset, device, say, stop))
            state.total_sec += time.perf_counter() - clock
            clock = time.perf_counter()
        if not done and stop():
            save_checkpoint(run.path, state, off_tick=True)
            break
    if report:
        report.end()
    distributed.barrier()


def _quiet(text: str) -> None:
    """Of processes that do not print."""


def _due(every: int, before: int, tick: int) -> bool:
    """Does a multiple of `every` lie in (before, tick]?"""
    return every > 0 and tick // every > before // every


class Report:
    """What the main process tells: progress bar, a line a tick, stats.jsonl, TensorBoard, log.txt."""

    def __init__(
        self, cfg: TrainConfig, state: TrainState, run: Run, stack: contextlib.ExitStack, device: torch.device
    ) -> None:
        self.cfg, self.state, self.run, self.device = cfg, state, run, device
        write_config(run, cfg)
        self.log = RunLog(run.path, state.cur_nimg / 1000 if state.cur_nimg else -1)
        stack.callback(self.log.close)
        self.bar = tqdm(
            total=cfg.total_kimg,
            initial=state.cur_nimg / 1000,
            bar_format="{percentage:3.0f}%|{bar:24}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]",
            dynamic_ncols=True,
            mininterval=0.1 if sys.stderr.isatty() else 10,
        )
        stack.callback(self.bar.close)
        self.session_nimg, self.session_sec = state.cur_nimg, 0.0

    def say(self, text: str) -> None:
        tqdm.write(text)
        self.log.line(text)

    def start(self, dataset: Any) -> None:
        cfg, state = self.cfg, self.state
        for message in self.run.messages:
            self.say(message)
        s = dataset.spec
        labels = f", {s.c_dim} label values" if s.c_dim else ""
        self.say(f"data      {cfg.data}: {len(dataset)} images {s.channels}x{s.resolution}x{s.resolution}{labels}")
        g, d = len(state.G_opt.flat), len(state.D_opt.flat)
        self.say(f"networks  G {g:,} and D {d:,} parameters")
        hardware = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        precision = resolve_precision(cfg.precision, self.device)
        compiled = ", compiled" if cfg.compile else ""
        self.say(f"hardware  {cfg.gpus} x {hardware}, {precision}{compiled}, torch {torch.__version__}")
        self.say(f"run dir   {self.run.path}")
        if state.cur_nimg:
            self.say(f"resuming at {state.cur_nimg / 1000:.3f} kimg")

    def progress(self, seconds: float) -> None:
        """A step took so long. The speed shown is that of training alone, the time left includes all."""
        nimg = self.state.cur_nimg
        self.session_sec += seconds
        speed = (nimg - self.session_nimg) / max(self.session_sec, 1e-9)
        self.bar.set_postfix_str(f"{speed:.1f} img/s", refresh=False)
        self.bar.update(min(nimg / 1000, self.bar.total) - self.bar.n)

    def tick(self, averages: dict[str, float], warmup: float, tick: int) -> None:
        cfg, state = self.cfg, self.state
        kimg = (state.cur_nimg - state.tick_start_nimg) / 1000
        skipped = int(state.G_opt.skipped.item() + state.D_opt.skipped.item())
        seconds, waited = state.tick_sec, state.wait_sec / max(state.tick_sec, 1e-9)
        unit = 1 if sys.platform == "darwin" else 2**10  # of ru_maxrss
        peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        memory = {"Resources/peak_cpu_mem_gb": peak_rss / 2**30}
        if self.device.type == "cuda":
            memory["Resources/peak_gpu_mem_gb"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        self.log.write(
            {
                "kimg": state.cur_nimg / 1000,
                "tick": tick,
                "sec_per_kimg": seconds / max(kimg, 1e-9),
                "img_per_sec": kimg * 1000 / max(seconds, 1e-9),
                "total_sec": state.total_sec,
                "data_wait_sec": state.wait_sec,
                "data_wait_share": waited,
                **averages,
                "Progress/lr": cfg.G_opt.lr * warmup,
                "Progress/skipped_steps": skipped,
                **memory,
            }
        )
        name, peak = next(reversed(memory.items()))
        self.say(
            f"tick {tick:<5d} kimg {state.cur_nimg / 1000:<8.1f} minibatch {cfg.batch:<4d} "
            f"time {format_time(state.total_sec):<12s} sec/tick {seconds:<7.1f} "
            f"sec/kimg {seconds / max(kimg, 1e-9):<7.2f} img/s {kimg * 1000 / max(seconds, 1e-9):<7.1f} "
            f"data wait {100 * waited:<4.1f}% {'gpumem' if 'gpu' in name else 'mem'} {peak:<5.2f} "
            f"D {averages.get('Loss/D', 0):<7.3f} G {averages.get('Loss/G', 0):<7.3f}"
            + (f" skipped {skipped}" if skipped else "")
        )

    def end(self) -> None:
        state = self.state
        finished = state.cur_nimg >= round(self.cfg.total_kimg * 1000)
        self.bar.close()
        if finished:
            self.say(f"finished {state.cur_nimg / 1000:.1f} kimg in {format_time(state.total_sec)}")
            r = state.spec.resolution
            name = label(self.cfg, state.cur_nimg)
            self.say(f"samples   {self.run.path}/{r}x{r}/fakes{name}.png")
            self.say(f"network   {self.run.path}/network-snapshot-{name}.safetensors")
        else:
            self.say(f"stopped at {state.cur_nimg / 1000:.3f} kimg; `--resume auto` goes on from here: {self.run.path}")
