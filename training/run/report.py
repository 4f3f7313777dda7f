"""What a run shows and writes besides checkpoints: progress bar, a line per tick, logs, sheets, network snapshots."""

import resource
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from dnnlib import distributed
from dnnlib.stats import RunLog, format_time
from training.data.dataset import Dataset
from training.networks.base import Discriminator, Generator
from training.precision import resolve_precision
from training.run.checkpoint import kimg_tag
from training.run.run_dir import Run, write_config
from training.run.sheets import Sheets
from training.run.snapshot import save_snapshot
from training.state import Tick, TrainState


class SilentReport:
    """The report of processes other than the main one: nothing is shown or written."""

    def __init__(self, run: Run, state: TrainState, dataset: Dataset, device: torch.device) -> None:
        self.run, self.state, self.dataset, self.device = run, state, dataset, device
        self.cfg = state.cfg

    @property
    def tag(self) -> str:
        """Return the progress as it stands in file names."""
        return kimg_tag(self.cfg, self.state.cur_nimg)

    @property
    def snapshot_path(self) -> Path:
        """Return where the network snapshot of this moment belongs."""
        return self.run.path / f"network-snapshot-{self.tag}.safetensors"

    def say(self, text: str) -> None:
        """Write a line to the terminal and to log.txt."""

    def start(self) -> None:
        """Say what the run is, and draw the first sheets."""

    def progress(self, seconds: float) -> None:
        """Move the progress bar after a step that took so long."""

    def tick(self, tick: Tick, lr_factor: float) -> None:
        """Report a tick that has ended."""

    def save_sheets(self) -> None:
        """Write a sheet of samples per level."""

    def save_snapshot(self) -> Path:
        """Write the networks as they are now; return the path of the file."""
        return self.snapshot_path

    def end(self) -> None:
        """Say where the run ended, and where its results are."""

    def close(self) -> None:
        """Close files and the progress bar."""


class Report(SilentReport):
    """The report of the main process."""

    def __init__(self, run: Run, state: TrainState, dataset: Dataset, device: torch.device) -> None:
        super().__init__(run, state, dataset, device)
        write_config(run, self.cfg)
        self.sheets = Sheets(self.cfg, dataset, device)
        self.log = RunLog(run.path, state.cur_nimg / 1000 if state.cur_nimg else -1)
        self.bar = tqdm(
            total=self.cfg.total_kimg,
            initial=state.cur_nimg / 1000,
            bar_format="{percentage:3.0f}%|{bar:24}| {n:.1f}/{total:.1f} kimg [{elapsed}<{remaining}{postfix}]",
            dynamic_ncols=True,
            mininterval=0.1 if sys.stderr.isatty() else 10,
        )

        # Speed is that of this session, so that a slow machine in the past does not count.
        self.session_nimg = state.cur_nimg
        self.session_sec = 0.0

    def say(self, text: str) -> None:
        tqdm.write(text)
        self.log.line(text)

    def start(self) -> None:
        cfg, state, spec = self.cfg, self.state, self.dataset.spec
        for message in self.run.messages:
            self.say(message)

        # Data, networks, hardware.
        labels = f", {spec.c_dim} label values" if spec.c_dim else ""
        size = f"{spec.channels}x{spec.resolution}x{spec.resolution}"
        self.say(f"data      {cfg.data}: {len(self.dataset)} images {size}{labels}")
        self.say(f"networks  G {len(state.G_opt.flat):,} and D {len(state.D_opt.flat):,} parameters")
        hardware = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        precision = resolve_precision(cfg.precision, self.device)
        compiled = ", compiled" if cfg.compile else ""
        self.say(f"hardware  {cfg.gpus} x {hardware}, {precision}{compiled}, torch {torch.__version__}")

        self.say(f"run dir   {self.run.path}")
        if state.cur_nimg:
            self.say(f"resuming at {state.cur_nimg / 1000:.3f} kimg")

        # Sheets of reals, and of the untrained generator.
        self.sheets.save_reals(self.run.path)
        if state.cur_nimg == 0:
            self.save_sheets()

    def progress(self, seconds: float) -> None:
        nimg = self.state.cur_nimg
        self.session_sec += seconds

        # The speed shown is that of training alone; the time left includes everything.
        speed = (nimg - self.session_nimg) / max(self.session_sec, 1e-9)
        self.bar.set_postfix_str(f"{speed:.1f} img/s", refresh=False)
        self.bar.update(min(nimg / 1000, self.bar.total) - self.bar.n)

    def tick(self, tick: Tick, lr_factor: float) -> None:
        cfg, state = self.cfg, self.state
        seconds_per_kimg = tick.seconds / max(tick.nimg / 1000, 1e-9)
        images_per_second = tick.nimg / max(tick.seconds, 1e-9)
        wait_share = tick.wait_seconds / max(tick.seconds, 1e-9)
        skipped = int(state.G_opt.skipped.item() + state.D_opt.skipped.item())
        memory = peak_memory(self.device)

        self.log.write(
            {
                "kimg": state.cur_nimg / 1000,
                "tick": tick.number,
                "sec_per_kimg": seconds_per_kimg,
                "img_per_sec": images_per_second,
                "total_sec": state.total_sec,
                "data_wait_sec": tick.wait_seconds,
                "data_wait_share": wait_share,
                **tick.averages,
                "Progress/lr": cfg.G_opt.lr * lr_factor,
                "Progress/skipped_steps": skipped,
                **memory,
            }
        )

        name, peak = next(reversed(memory.items()))
        self.say(
            f"tick {tick.number:<5d} kimg {state.cur_nimg / 1000:<8.1f} minibatch {cfg.batch:<4d} "
            f"time {format_time(state.total_sec):<12s} sec/tick {tick.seconds:<7.1f} "
            f"sec/kimg {seconds_per_kimg:<7.2f} img/s {images_per_second:<7.1f} "
            f"data wait {100 * wait_share:<4.1f}% {'gpumem' if 'gpu' in name else 'mem'} {peak:<5.2f} "
            f"D {tick.averages.get('Loss/D', 0):<7.3f} G {tick.averages.get('Loss/G', 0):<7.3f}"
            + (f" skipped {skipped}" if skipped else "")
        )

    def save_sheets(self) -> None:
        self.sheets.save_fakes(self.run.path, self.state.G_ema, self.tag)

    def save_snapshot(self) -> Path:
        state = self.state
        networks: dict[str, Generator | Discriminator] = {"G": state.G, "D": state.D, "G_ema": state.G_ema}
        save_snapshot(self.snapshot_path, networks, state.spec, state.cur_nimg)
        return self.snapshot_path

    def end(self) -> None:
        state = self.state
        self.bar.close()
        if not state.finished:
            self.say(f"stopped at {state.cur_nimg / 1000:.3f} kimg; `--resume auto` goes on from here: {self.run.path}")
            return

        size = f"{state.spec.resolution}x{state.spec.resolution}"
        self.say(f"finished {state.cur_nimg / 1000:.1f} kimg in {format_time(state.total_sec)}")
        self.say(f"samples   {self.run.path}/{size}/fakes{self.tag}.png")
        self.say(f"network   {self.snapshot_path}")

    def close(self) -> None:
        self.bar.close()
        self.log.close()


def open_report(run: Run, state: TrainState, dataset: Dataset, device: torch.device) -> SilentReport:
    """Return the report of this process."""
    kind = Report if distributed.is_main() else SilentReport
    return kind(run, state, dataset, device)


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the most memory that this process has held so far, in GiB by name; the last entry is the telling one."""
    unit = 1 if sys.platform == "darwin" else 2**10  # of ru_maxrss, bytes
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    memory = {"Resources/peak_cpu_mem_gb": peak_rss / 2**30}
    if device.type == "cuda":
        memory["Resources/peak_gpu_mem_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
    return memory
