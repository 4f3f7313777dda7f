"""Being asked to stop, on any number of processes."""

import os
import signal
from types import FrameType

from dnnlib import distributed


class StopRequest:
    """Has someone asked this program to end? SIGTERM and SIGINT do; a second SIGINT ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        self.parent = os.getppid()
        self.previous = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def __call__(self) -> bool:
        """Return the same answer on all processes, which must ask together."""
        # A worker whose launcher was killed has nobody left to report to.
        if distributed.world_size() > 1 and os.getppid() != self.parent:
            os._exit(1)
        return distributed.any_rank(self.asked)

    def restore(self) -> None:
        """Give the signals back to whoever had them before."""
        for s, handler in self.previous.items():
            signal.signal(s, handler)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
