"""What a run shows and writes besides checkpoints: progress bar, a line per tick, logs, sheets, network snapshots."""

import os
import shlex
import sys
from pathlib import Path

import psutil
import torch
from torch import nn
from tqdm import tqdm

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.stats import RunLog, format_time
from training.config import as_dict
from training.data.dataset import Dataset
from training.networks.base import Discriminator, Generator
from training.precision import resolve_precision
from training.run.checkpoint import kimg_tag
from training.run.layer_table import describe_networks
from training.run.provenance import Provenance, device_name, save_code
from training.run.run_dir import Run, write_config
from training.run.sheets import Sheets
from training.run.snapshot import save_snapshot
from training.spec import shape_text
from training.state import Tick, TrainState
from training.update import OutOfMemory

# The variable that names a file which is to appear when a run stops before its end.
STOPPED = "MSG_GAN_STOPPED"


class Report:
    """The main process's report of a run. All processes have one, so that the training loop is the same on each."""

    def __init__(self, run: Run, state: TrainState, dataset: Dataset, device: torch.device) -> None:
        self.run, self.state, self.dataset, self.device = run, state, dataset, device
        self.cfg = state.cfg

        # Files and the progress bar are the main process's alone.
        if not distributed.is_main():
            return

        run.stop_file.unlink(missing_ok=True)  # of an earlier session
        write_config(run, self.cfg)
        if self.cfg.save_code:
            save_code(run.path)
        self.provenance = Provenance(run.path, self.cfg, dataset, device, state.cur_nimg / 1000)
        self.outcome = "ended early"
        trackers = [name.strip() for name in self.cfg.trackers.split(",") if name.strip()]
        self.log = RunLog(run.path, state.cur_nimg / 1000, trackers, as_dict(self.cfg))
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

        # What sheets, snapshots and metrics of the last tick took.
        self.maintenance_sec = 0.0

    @property
    def tag(self) -> str:
        """Return the progress as it stands in file names."""
        return kimg_tag(self.cfg, self.state.cur_nimg)

    @property
    def snapshot_path(self) -> Path:
        """Return where the network snapshot of this moment belongs."""
        return self.run.path / f"network-snapshot-{self.tag}.safetensors"

    @distributed.main_process_only
    def say(self, text: str) -> None:
        """Write a line to the terminal and to log.txt."""
        tqdm.write(text)
        self.log.line(text)

    @distributed.main_process_only
    def start(self) -> None:
        """Say what the run is, and draw the first sheets."""
        cfg, state, spec = self.cfg, self.state, self.dataset.spec

        # Data, networks and hardware, after what is to be known about how the run was found.
        labels = f", {spec.c_dim} label values" if spec.c_dim else ""
        precision = resolve_precision(cfg.precision, self.device)
        compiled = ", compiled" if cfg.compile else ""
        for line in (
            *self.run.messages,
            f"data      {cfg.data}: {len(self.dataset)} images {shape_text(spec.shape)}{labels}",
            f"networks  G {_count(state.G):,} and D {_count(state.D):,} parameters",
            f"hardware  {cfg.gpus} x {device_name(self.device)}, {precision}{compiled}, torch {torch.__version__}",
            f"run dir   {self.run.path}",
        ):
            self.say(line)
        self.log.line(f"\n{describe_networks(cfg, spec)}\n")

        # Sheets of reals, which are read from the dataset, and of the untrained generator.
        self.sheets = Sheets(cfg, self.dataset, self.device)
        self.sheets.save_reals(self.run.path)
        if self.run.checkpoint is None:
            self.save_sheets()
        if self.provenance.dataset_has_changed:
            self.say(f"warning: {cfg.data}: not the images and labels that the run has been trained with so far")
        if state.cur_nimg:
            verb = "starting" if self.run.checkpoint is None else "resuming"
            self.say(f"{verb} at {state.cur_nimg / 1000:.3f} kimg")

    @distributed.main_process_only
    def progress(self, seconds: float) -> None:
        """Move the progress bar after a step that took this many seconds."""
        kimg = self.state.cur_nimg / 1000
        self.session_sec += seconds

        # The speed shown is that of training alone; the time left includes everything.
        speed = (self.state.cur_nimg - self.session_nimg) / max(self.session_sec, 1e-9)
        self.bar.set_postfix_str(f"{speed:.1f} img/s", refresh=False)
        self.bar.update(min(kimg, self.bar.total) - self.bar.n)

    @distributed.main_process_only
    def tick(self, tick: Tick, lr_G: float, lr_D: float) -> None:
        """Write the figures of a tick that has ended, with its last learning rates, to the logs and the terminal."""
        cfg, state = self.cfg, self.state

        # A tick may be empty where a run is resumed just before its end.
        seconds = max(tick.seconds, 1e-9)
        seconds_per_kimg = tick.seconds / max(tick.nimg / 1000, 1e-9)
        skipped = int(state.G_opt.skipped.item() + state.D_opt.skipped.item())
        memory = peak_memory(self.device)

        # The same numbers go to all sinks.
        row = {
            "kimg": state.cur_nimg / 1000,
            "tick": tick.number,
            "sec_per_tick": tick.seconds,
            "sec_per_kimg": seconds_per_kimg,
            "maintenance_sec": self.maintenance_sec,
            "img_per_sec": tick.nimg / seconds,
            "total_sec": state.total_sec,
            "data_wait_sec": tick.wait_seconds,
            "data_wait_share": tick.wait_seconds / seconds,
            **tick.averages,
            "Progress/lr": lr_G,
            "Progress/lr_D": lr_D,
            "Progress/skipped_steps": skipped,
            **memory,
        }
        for name, opt in (("G", state.G_opt), ("D", state.D_opt)):
            if opt.scales_loss:
                row[f"Progress/log2_loss_scale_{name}"] = opt.log2_scale.item()
        self.log.write(row)
        if cfg.weight_histograms:
            self.log.histograms({"G": state.G, "D": state.D}, row["kimg"])

        # The terminal shows the memory that runs out first: the GPU's, if there is one.
        name, peak = list(memory.items())[-1]
        self.say(
            f"tick {tick.number:<5d} kimg {row['kimg']:<8.1f} minibatch {cfg.batch:<4d} "
            f"time {format_time(state.total_sec):<12s} sec/tick {tick.seconds:<7.1f} "
            f"sec/kimg {seconds_per_kimg:<7.2f} img/s {row['img_per_sec']:<7.1f} "
            f"data wait {100 * row['data_wait_share']:<4.1f}% {'gpumem' if 'gpu' in name else 'mem'} {peak:<5.2f} "
            f"D {row.get('Loss/D', 0):<7.3f} G {row.get('Loss/G', 0):<7.3f}"
            + (f" skipped {skipped}" if skipped else "")
        )

    @distributed.main_process_only
    def save_sheets(self) -> None:
        """Write a sheet of samples per level."""
        self.sheets.save_fakes(self.run.path, self.state.G_ema, self.tag)

    @distributed.main_process_only
    def save_snapshot(self) -> None:
        """Write the networks as they are now to `snapshot_path`."""
        state = self.state
        networks: dict[str, Generator | Discriminator] = {"G": state.G, "D": state.D, "G_ema": state.G_ema}
        save_snapshot(self.snapshot_path, networks, state.spec, state.cur_nimg)

    @distributed.main_process_only
    def end(self) -> None:
        """Say where the run ended, and where its results are."""
        state = self.state
        self.bar.close()
        self.outcome = "finished" if state.finished else "stopped"
        if not state.finished:
            self.run.stop_file.unlink(missing_ok=True)  # so that the run can go on
            self.say(f"stopped at {state.cur_nimg / 1000:.3f} kimg; `--resume auto` goes on from here: {self.run.path}")

            # The exit status is 0 as well, so that a job which wants to go on needs another sign.
            if STOPPED in os.environ:
                Path(os.environ[STOPPED]).touch()
            return

        # Where to look first.
        self.say(f"finished {state.cur_nimg / 1000:.1f} kimg in {format_time(state.total_sec)}")
        self.say(f"samples   {self.run.path}/{state.spec.size_text}/fakes{self.tag}.png")
        self.say(f"network   {self.snapshot_path}")
        self.say(f"report    python report.py {shlex.quote(str(self.run.path))}")

    @distributed.main_process_only
    def close(self) -> None:
        """Close files and the progress bar, and write how the run ended; remove a new run that has not taken a step."""
        self.bar.close()

        # Closed because of an error, which whoever catches it shows as well.
        error = sys.exc_info()[1]
        if error is not None:
            reason = str(error) if isinstance(error, UserError) else repr(error)
            self.outcome = f"failed: {reason}"
            self.log.line(f"error: {reason}")
        self.provenance.end(self.outcome, self.state.cur_nimg / 1000)
        self.log.close()
        if error is not None and self.state.cur_nimg == self.session_nimg and not isinstance(error, OutOfMemory):
            self.run.discard()


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the most memory that this process has held so far, in GiB by name; that of a GPU comes last."""
    if sys.platform == "win32":
        peak_rss = psutil.Process().memory_info().peak_wset
    else:
        import resource

        # The kernel reports bytes on macOS, and KiB elsewhere.
        unit = 1 if sys.platform == "darwin" else 2**10
        peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    memory = {"Resources/peak_cpu_mem_gb": peak_rss / 2**30}
    if device.type == "cuda":
        memory["Resources/peak_gpu_mem_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
    return memory


def _count(network: nn.Module) -> int:
    """Return the number of a network's parameters."""
    return sum(p.numel() for p in network.parameters())
