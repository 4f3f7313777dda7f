"""The number of threads that a run takes on a CPU."""

from collections.abc import Callable

import torch

from dnnlib.cpu_threads import CpuThreads
from training.state import TrainState


class RunThreads:
    """Chooses the number of threads by what other programs leave free, at the start of a run or all along.

    The weight gradients of convolutions are rounded in another way by another number of threads. A deterministic run
    therefore keeps the number that it has started with, also after it was resumed; others follow the load.
    """

    def __init__(self, state: TrainState, device: torch.device) -> None:
        self.state = state
        self.active = device.type == "cpu" and state.cfg.gpus == 1
        if not self.active:
            return

        # Compiled steps are made for a number of threads.
        self.threads = CpuThreads()
        self.follows = not state.cfg.deterministic and not state.cfg.compile
        self.advised = False

        # A run that is resumed goes on with its number as far as there are cores, unless the user has set one.
        if self.threads.fixed or self.follows or state.cpu_threads is None:
            state.cpu_threads = self.threads.choose()
        else:
            torch.set_num_threads(min(state.cpu_threads, self.threads.most))

    def after_step(self) -> None:
        """Let the number follow the load; to be called between steps."""
        if self.active and self.follows:
            self.state.cpu_threads = self.threads.follow()

    def advise(self, say: Callable[[str], None]) -> None:
        """Say once that a run with a fixed number shares its cores with others; to be called at ticks."""
        if not self.active or self.follows or self.advised or not self.threads.due:
            return
        wanted = self.threads.measure()
        if wanted < torch.get_num_threads():
            say(
                f"cpu       other programs share its cores, which slows down all {torch.get_num_threads()} threads: "
                "--no-deterministic lets their number follow the load"
            )
            self.advised = True
