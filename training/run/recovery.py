"""What a run does when training diverges or memory runs out: how either is noticed, and how the run goes on."""

import math
from collections.abc import Callable
from dataclasses import replace

from dnnlib import distributed
from dnnlib.errors import UserError
from training.config import TrainConfig
from training.run.checkpoint import newest_whole
from training.run.cost import estimate_cost
from training.run.micro_batch import free_memory, largest_fitting, sizes
from training.run.run_dir import Run
from training.spec import ImageSpec
from training.state import Tick, TrainState
from training.update import OutOfMemory

LARGEST_LOSS = 1e6  # no loss of a run that learns comes near it
SKIPPED_SHARE = 0.5  # of the steps of a tick, from which on training counts as diverged


class Diverged(UserError):
    """Training has diverged. All processes raise it together."""

    def __init__(self, message: str, rollbacks: int) -> None:
        super().__init__(message)
        self.rollbacks = rollbacks
        """Times that the run had been rolled back before."""


def check_divergence(state: TrainState, tick: Tick, say: Callable[[str], None]) -> None:
    """Raise Diverged if training has diverged in this tick; only say so with `--on-divergence ignore`."""
    sign = sign_of_divergence(state, tick)
    if sign is None:
        return

    message = f"training has diverged by {state.cur_nimg / 1000:.3f} kimg: {sign}"
    if state.cfg.on_divergence != "ignore":
        raise Diverged(message, state.rollbacks)
    say(f"warning: {message}")


def sign_of_divergence(state: TrainState, tick: Tick) -> str | None:
    """Return what shows that training has diverged, the same on all processes; None if nothing does.

    A single gradient that is not finite is no sign: its step is skipped, and what it leaves in the means is ignored.
    """
    for name, opt in (("D", state.D_opt), ("G", state.G_opt)):
        # A loss scale that is still above 1 is being searched for, which skips steps.
        is_searching = opt.scales_loss and opt.log2_scale.item() > 0
        skipped = tick.averages.get(f"Progress/skipped_share_{name}", 0.0)
        if skipped >= SKIPPED_SHARE and not is_searching:
            return f"{skipped:.0%} of the gradients of {name} in this tick were not finite"

        loss = tick.averages.get(f"Loss/{name}", 0.0)
        if math.isfinite(loss) and abs(loss) > LARGEST_LOSS:
            return f"the mean loss of {name} was {loss:.3g}"
    return None


def check_steps(state: TrainState) -> None:
    """Raise UserError if a run has come to its end without a single step of one of its networks."""
    for name, opt in (("D", state.D_opt), ("G", state.G_opt)):
        if not opt.t.item():
            raise UserError(f"no step of {name} was taken: none of its gradients was finite, so nothing was learned")


def recover(problem: Diverged | OutOfMemory, cfg: TrainConfig, run: Run, spec: ImageSpec) -> tuple[TrainConfig, Run]:
    """Return the options and the run to go on with; raise UserError if there is nothing left to try.

    All processes call it together, except for memory that ran out after the first steps, which ends the run.
    """
    if isinstance(problem, Diverged):
        return cfg, distributed.on_main(lambda: _rolled_back(cfg, run, problem))

    # The random inputs of a run that goes on from a checkpoint depend on its micro-batch.
    smaller = [size for size in sizes(cfg) if size < problem.images_per_pass]
    if not problem.at_start or run.checkpoint or not smaller:
        if problem.at_start:
            run.discard()
        raise UserError(_memory_advice(problem, replace(cfg, micro_batch=problem.images_per_pass), spec))

    message = (
        f"OUT OF MEMORY with {problem.images_per_pass} images a pass: trying again with --micro-batch {smaller[0]}, "
        "which computes the same in more passes"
    )
    return replace(cfg, micro_batch=smaller[0]), replace(run, messages=[*run.messages, message])


def _rolled_back(cfg: TrainConfig, run: Run, problem: Diverged) -> Run:
    """Return the run at an earlier checkpoint; raise UserError if it may not be rolled back once more."""
    advice = "lower --G-opt.lr and --D-opt.lr, or raise --loss.r1-gamma"
    if cfg.on_divergence == "stop":
        raise UserError(f"{run.path}: {problem}; {advice}, or let it go back with --on-divergence rollback")
    if problem.rollbacks >= cfg.max_rollbacks:
        raise UserError(f"{run.path}: {problem}, after {problem.rollbacks} rollbacks; {advice}")

    # A checkpoint that has led here twice is part of the problem, and is put aside.
    newest, cur_nimg, _ = newest_whole(run.path)
    if newest is not None and newest == run.rolled_back_to:
        newest.rename(newest.with_name(f"{newest.name}.diverged"))
        newest, cur_nimg, _ = newest_whole(run.path)

    count = problem.rollbacks + 1
    where = f"to {newest.name}" if newest else "to the start"
    message = (
        f"ROLLED BACK {where} ({count} of at most {cfg.max_rollbacks} times): {problem}; going on with 1/{2**count} of "
        "the learning rates and other random inputs"
    )
    return replace(
        run,
        checkpoint=newest,
        cur_nimg=cur_nimg,
        messages=[message],
        is_new=False,
        rolled_back_to=newest,
        rollbacks=count,
    )


def _memory_advice(problem: OutOfMemory, cfg: TrainConfig, spec: ImageSpec) -> str:
    """Return what a run that ran out of memory needs by the forecast, and what would need less, as an error."""
    needed = estimate_cost(cfg, spec).peak_bytes
    free = free_memory(cfg)
    text = (
        f"{problem}: a step takes about {needed / 2**30:.2f} GiB per process at {problem.images_per_pass} images a "
        f"pass, and {free / 2**30:.2f} GiB can be used now"
    )

    # The largest number of images a pass that fits, if there is one, or else the smallest.
    size, peak = largest_fitting(cfg, spec, min(free, needed - 1))
    if size < problem.images_per_pass:
        text += f"; --micro-batch {size} takes about {peak / 2**30:.2f} GiB"
    else:
        text += "; no smaller --micro-batch computes the same, so lower --batch, --G.fmap-max or --resolution"
    return text
