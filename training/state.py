"""All that a checkpoint holds: what a run needs to go on as if it had never stopped."""

import copy
import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.files import atomic, os_error
from dnnlib.stats import Averages
from training.config import TrainConfig, architecture, as_dict
from training.networks.architectures import build_discriminator, build_generator
from training.networks.base import Generator
from training.optimizer import Adam, flatten_parameters
from training.spec import ImageSpec
from training.warm_start import Initial, copy_fitting, table

STATS = ["Loss/D", "Loss/G", "Loss/scores/real", "Loss/scores/fake", "Loss/r1_penalty", "Loss/r2_penalty",
         "Loss/gradient_penalty"]  # fmt: skip

VERSION = 2  # of checkpoints: 1 knew one architecture and fewer statistics
PROGRESS = ("cur_nimg", "tick", "tick_start_nimg", "total_sec", "tick_sec", "wait_sec")


class TrainState:
    """Networks, optimizers, progress and the averages of the unfinished tick. Initial weights follow from the seed."""

    def __init__(self, cfg: TrainConfig, spec: ImageSpec, device: torch.device) -> None:
        torch.manual_seed(cfg.seed)
        self.cfg, self.spec = cfg, spec
        self.G = build_generator(cfg.G, spec).train().to(device)
        self.D = build_discriminator(cfg.D, spec).train().to(device)
        self.G_ema = copy.deepcopy(self.G).eval().requires_grad_(False)
        w_dim = len(self.G.mapping.w_avg)
        self.G_opt = Adam(self.G, cfg.G_opt, extra=w_dim)
        self.D_opt = Adam(self.D, cfg.D_opt, extra=w_dim)
        self.ema_flat = flatten_parameters(self.G_ema.parameters())
        self.averages = Averages(STATS, device)
        self.cur_nimg = 0  # real images shown to D
        self.tick = 0  # ticks reported
        self.tick_start_nimg = 0  # where the unfinished tick began
        self.total_sec = 0.0  # time trained, over all sessions
        self.tick_sec = 0.0  # of that, since the last report
        self.wait_sec = 0.0  # of that, spent waiting for data

    def start_from(self, initial: Initial) -> list[str]:
        """Copy what fits of other networks into these; returns a table of what did."""
        networks = {"G": self.G, "D": self.D, "G_ema": self.G_ema}
        for name, network in networks.items():
            copy_fitting(network, initial, name)
        return [f"init      {initial.where}", *table(self.G, initial, "G"), *table(self.D, initial, "D")]

    def state_dict(self) -> dict[str, Any]:
        """References, not copies. All processes must call it together."""
        return {
            "version": VERSION,
            "architecture": architecture(self.cfg, self.spec),
            "config": as_dict(self.cfg),
            "G": self.G.state_dict(),
            "D": self.D.state_dict(),
            "G_ema": self.G_ema.state_dict(),
            "G_opt": self.G_opt.state_dict(),
            "D_opt": self.D_opt.state_dict(),
            "averages": distributed.gather(self.averages.sums),
            "progress": {k: getattr(self, k) for k in PROGRESS},
            "tick_kimg": self.cfg.tick_kimg,
        }

    def load(self, path: Path) -> None:
        """Take over a checkpoint; UserError if it is damaged or of another architecture."""
        state = load_checkpoint(path)
        check_architecture(state, self.cfg, self.spec, path)
        for name in ("G", "D", "G_ema"):
            getattr(self, name).load_state_dict(state[name])
        self.G_opt.load_state_dict(state["G_opt"])
        self.D_opt.load_state_dict(state["D_opt"])
        sums = state["averages"]  # [ranks,names,2]
        if len(sums) == distributed.world_size():
            self.averages.sums.copy_(sums[distributed.rank()])
        elif distributed.is_main():
            self.averages.sums.copy_(sums.sum(0))
        for name, value in state["progress"].items():
            setattr(self, name, value)
        if state["tick_kimg"] != self.cfg.tick_kimg:
            self.tick = tick_of(self.cfg, self.cur_nimg)


def check_networks(cfg: TrainConfig, spec: ImageSpec) -> Generator:
    """UserError if no networks can be built from these options for these images; returns G without values."""
    try:
        with torch.device("meta"):
            build_discriminator(cfg.D, spec)
            return build_generator(cfg.G, spec)
    except ValueError as e:
        raise UserError(str(e)) from e


def tick_of(cfg: TrainConfig, nimg: float) -> int:
    """Ticks that are over after `nimg` images."""
    return int(nimg / (cfg.tick_kimg * 1000) + 1e-9)


def label(cfg: TrainConfig, nimg: int, off_tick: bool = False) -> str:
    """What file names carry for progress: whole kimg in six digits, with three decimals more if ticks or the end of the
    run do not fall on whole kimg, or if the file belongs to no tick."""
    whole = cfg.tick_kimg % 1 == 0 and cfg.total_kimg % 1 == 0 and not off_tick
    return f"{nimg // 1000:06d}" if whole else f"{nimg / 1000:010.3f}"


def save_checkpoint(run_dir: Path, state: TrainState, off_tick: bool = False) -> None:
    """The main process writes `checkpoint-KIMG.pt`, whole or not at all, then deletes those that need not be kept. All
    must call it together."""
    content = state.state_dict()
    if distributed.is_main():
        path = run_dir / f"checkpoint-{label(state.cfg, state.cur_nimg, off_tick)}.pt"
        with atomic(path) as temporary:
            buffer = io.BytesIO()  # so that the disk is written, and fails, in one place
            torch.save(content, buffer)
            temporary.write_bytes(buffer.getbuffer())
        _remove_old(run_dir, state.cfg, path)


class Damaged(UserError):
    """A checkpoint that is not whole."""


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to CPU memory after checking all of it against its checksums; UserError if it is damaged."""
    try:
        with zipfile.ZipFile(path) as z:
            bad = z.testzip()
        if bad is not None:
            raise Damaged(f"{path}: damaged checkpoint: wrong checksum of {bad}, expected a whole file")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, RuntimeError, EOFError, LookupError, ValueError, pickle.PickleError) as e:
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        if isinstance(e, OSError):
            raise os_error(e, path, "read") from e
        raise Damaged(f"{path}: damaged checkpoint, or none: {reason}, expected a whole checkpoint-*.pt") from e
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise UserError(f"{path}: not a checkpoint of this program, expected version {VERSION}")
    return state


def check_architecture(state: dict[str, Any], cfg: TrainConfig, spec: ImageSpec, path: Path) -> None:
    """UserError that names the first difference if the checkpoint `state`, read from `path`, is of other networks."""
    ours, theirs = architecture(cfg, spec), state["architecture"]
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            raise UserError(
                f"{path}: checkpoint of another architecture: {key} is {theirs.get(key)}, expected {ours.get(key)}"
            )


def _kimg(path: Path) -> float:
    """The progress that a checkpoint's name carries."""
    return float(path.stem.split("-")[1])


def checkpoints(run_dir: Path) -> list[Path]:
    """Checkpoint files, newest first."""
    named = [p for p in run_dir.glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d{6,}(\.\d{3})?\.pt", p.name)]
    return sorted(named, key=_kimg, reverse=True)


def newest_whole(run_dir: Path) -> tuple[Path | None, int, list[str]]:
    """The newest whole checkpoint, its progress in images, and what was wrong with newer ones, which are put aside
    under another name."""
    problems: list[str] = []
    for path in checkpoints(run_dir):
        try:
            return path, load_checkpoint(path)["progress"]["cur_nimg"], problems
        except UserError as e:
            problems.append(str(e))
            if isinstance(e, Damaged):
                path.rename(path.with_name(f"{path.name}.damaged"))
    return None, 0, problems


def _remove_old(run_dir: Path, cfg: TrainConfig, written: Path) -> None:
    """Keep the one just written, the last `keep_last`, and of those that came with a snapshot every `keep_every`-th."""
    if not cfg.keep_last:
        return
    for path in checkpoints(run_dir)[cfg.keep_last :]:
        name = path.stem.removeprefix("checkpoint-")
        tick = tick_of(cfg, _kimg(path) * 1000 + (0 if "." in name else 999))  # whole numbers are rounded down
        number = tick // max(cfg.network_snapshot_ticks, 1)
        regular = (run_dir / f"network-snapshot-{name}.safetensors").exists()
        if path != written and not (regular and cfg.keep_every and number % cfg.keep_every == 0):
            path.unlink(missing_ok=True)
