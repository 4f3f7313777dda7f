"""The state of a run: all that a checkpoint holds, so that the run can go on as if it had never stopped."""

import copy
from typing import Any, NamedTuple

import torch

from dnnlib.errors import UserError
from dnnlib.stats import Averages
from training.augment.augmenter import Augmenter
from training.config import TrainConfig
from training.losses import LOSSES
from training.networks.architectures import build_discriminator, build_generator
from training.networks.base import Discriminator, Generator
from training.optimizer import Adam, flatten_parameters
from training.precision import resolve_precision
from training.spec import ImageSpec
from training.warm_start import InitialWeights, copy_fitting, table

# Attributes of TrainState that are plain numbers.
PROGRESS = ("cur_nimg", "tick", "tick_start_nimg", "total_sec", "tick_sec", "wait_sec", "cpu_threads",
            "rollbacks")  # fmt: skip


class Tick(NamedTuple):
    """A reporting interval that has ended."""

    before: int  # ticks that were over when it began
    after: int  # ticks that are over now
    nimg: int  # images shown in it
    seconds: float  # time trained
    wait_seconds: float  # of that, spent waiting for data
    averages: dict[str, float]  # statistics by name

    @property
    def number(self) -> int:
        """Return the number under which it is reported, counting from 1."""
        return max(self.after, self.before + 1)

    def completes(self, every: int) -> bool:
        """Return whether a multiple of `every` ticks ended with it; 0 = never."""
        return every > 0 and self.after // every > self.before // every


class TrainState:
    """Networks, optimizers, progress, and the averages of the unfinished tick. Initial weights follow from the seed."""

    def __init__(self, cfg: TrainConfig, spec: ImageSpec, device: torch.device) -> None:
        self.cfg, self.spec = cfg, spec

        # Networks; every process draws the same initial weights.
        torch.manual_seed(cfg.seed)
        self.G = build_generator(cfg.G, spec).train().to(device)
        self.D = build_discriminator(cfg.D, spec).train().to(device)
        freeze(self.G, self.D, cfg)
        self.G_ema = copy.deepcopy(self.G).eval().requires_grad_(False)

        # Optimizers; the batch mean of w travels with the gradients, and after it what D thinks of the reals.
        w_dim = len(self.G.mapping.w_avg)
        scales_loss = resolve_precision(cfg.precision, device) == "fp16"
        self.G_opt = Adam(self.G, cfg.G_opt, extra=w_dim, scales_loss=scales_loss)
        self.D_opt = Adam(self.D, cfg.D_opt, extra=w_dim + 1, scales_loss=scales_loss)
        self.augmenter = Augmenter(cfg.augment, spec, device)
        self.ema_flat = flatten_parameters(self.G_ema.parameters())

        # Progress.
        self.averages = Averages(device)
        self.cur_nimg = 0  # real images shown to D
        self.tick = 0  # ticks reported
        self.tick_start_nimg = 0  # where the unfinished tick began
        self.total_sec = 0.0  # time trained, over all sessions
        self.tick_sec = 0.0  # of that, since the last report
        self.wait_sec = 0.0  # of that, spent waiting for data
        self.cpu_threads: int | None = None  # of a run on a CPU, as far as it has chosen their number
        self.rollbacks = 0  # times that the run has diverged and gone back to a checkpoint

    @property
    def finished(self) -> bool:
        """Return whether the run has seen all images that it was meant to see."""
        return self.cur_nimg >= round(self.cfg.total_kimg * 1000)

    @property
    def where(self) -> str:
        """Return how far the run is, for messages."""
        return f"{self.cur_nimg / 1000:.3f} kimg (step {self.cur_nimg // self.cfg.batch})"

    @property
    def tick_is_over(self) -> bool:
        """Return whether a tick has ended since the last report."""
        return ticks_after(self.cfg, self.cur_nimg) > self.tick

    def end_tick(self) -> Tick:
        """Return the tick that ends here, and begin the next one. All processes must call it together."""
        tick = Tick(
            before=self.tick,
            after=ticks_after(self.cfg, self.cur_nimg),
            nimg=self.cur_nimg - self.tick_start_nimg,
            seconds=self.tick_sec,
            wait_seconds=self.wait_sec,
            averages=self.averages.take(),
        )

        # Begin the next tick.
        self.tick, self.tick_start_nimg = tick.after, self.cur_nimg
        self.tick_sec = self.wait_sec = 0.0
        return tick

    def start_from(self, weights: InitialWeights) -> list[str]:
        """Copy what fits of other networks into these, and count on from where `init_kimg` says.

        Return a table of what was copied. Raises UserError if the files do not tell how long they were trained, or if
        that is longer than this run.
        """
        nimg = (weights.cur_nimg or 0) if self.cfg.init_kimg == "auto" else round(self.cfg.init_kimg * 1000)
        if self.cfg.init_kimg == "auto" and weights.cur_nimg is None:
            raise UserError(f"--init-kimg auto: {weights.where} does not tell, expected a number")
        if nimg >= self.cfg.total_kimg * 1000:
            raise UserError(
                f"--init-kimg: {weights.where} was trained for {nimg / 1000:g} kimg, expected fewer than --total-kimg "
                f"{self.cfg.total_kimg:g}"
            )

        # Steps are whole batches.
        self.cur_nimg = self.tick_start_nimg = nimg // self.cfg.batch * self.cfg.batch
        self.tick = ticks_after(self.cfg, self.cur_nimg)
        for name, network in {"G": self.G, "D": self.D, "G_ema": self.G_ema}.items():
            copy_fitting(network, weights, name)
        return [f"init      {weights.where}", *table(self.G, weights, "G"), *table(self.D, weights, "D")]

    def state_dict(self) -> dict[str, Any]:
        """Return references, not copies. All processes must call it together."""
        return {
            **{name: part.state_dict() for name, part in self._parts().items()},
            "progress": {name: getattr(self, name) for name in PROGRESS},
            "tick_kimg": self.cfg.tick_kimg,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for name, part in self._parts().items():
            if name in state or name != "augmenter":  # older checkpoints have none
                part.load_state_dict(state[name])

        for name, value in state["progress"].items():
            setattr(self, name, value)

        # If ticks have another length now, they are counted anew.
        if state["tick_kimg"] != self.cfg.tick_kimg:
            self.tick = ticks_after(self.cfg, self.cur_nimg)

    def _parts(self) -> dict[str, Any]:
        """Return what keeps a state of its own, by its name in a checkpoint."""
        return {
            "G": self.G,
            "D": self.D,
            "G_ema": self.G_ema,
            "G_opt": self.G_opt,
            "D_opt": self.D_opt,
            "averages": self.averages,
            "augmenter": self.augmenter,
        }


def ticks_after(cfg: TrainConfig, nimg: float) -> int:
    """Return how many ticks are over after `nimg` images."""
    # The small number keeps 0.3 / 0.1 from being rounded down to 2.
    return int(nimg / (cfg.tick_kimg * 1000) + 1e-9)


def freeze(G: Generator, D: Discriminator, cfg: TrainConfig) -> None:
    """Turn off the gradients of what is not to be trained; raise ValueError if nothing would be left."""
    levels = D.spec.resolutions
    if cfg.freeze_d >= len(levels):
        raise ValueError(f"freeze_d: found {cfg.freeze_d}, expected less than {len(levels)}, the number of levels")
    for r in levels[len(levels) - cfg.freeze_d :]:
        D.get_submodule(f"b{r}").requires_grad_(False)

    if cfg.mapping_only:
        if not any(True for _ in G.mapping.parameters()):
            raise ValueError("mapping_only: this generator has no mapping network to train")
        G.synthesis.requires_grad_(False)


def check_networks(cfg: TrainConfig, spec: ImageSpec) -> Generator:
    """Return G without values; raise UserError if these options name no loss, or no networks for these images."""
    if cfg.loss.name not in LOSSES:
        raise UserError(f"loss.name: found {cfg.loss.name}, expected one of {', '.join(LOSSES)}")

    # Tensors on this device have shapes only, so that even large networks cost nothing.
    try:
        with torch.device("meta"):
            G, D = build_generator(cfg.G, spec), build_discriminator(cfg.D, spec)
            freeze(G, D, cfg)
            return G
    except ValueError as e:
        raise UserError(str(e)) from e
