"""Being asked to stop, on any number of processes."""

import os
import signal
from pathlib import Path
from types import FrameType

from dnnlib import distributed


class StopRequest:
    """A flag that SIGTERM and SIGINT raise, to end a program at the next good moment; a second SIGINT ends it at once.

    Call it to learn whether any process was asked to stop, or whether `file`, once it is set, exists.
    """

    def __init__(self) -> None:
        self.asked = False
        self.file: Path | None = None

        # A launcher that is killed sends no signal, but another process becomes the parent.
        self.parent = os.getppid()
        self.previous = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def __call__(self) -> bool:
        """Return the same answer on all processes, which must ask together."""
        # Nobody is left to report to.
        if distributed.world_size() > 1 and os.getppid() != self.parent:
            os._exit(1)

        # One process looks for the file, since a thousand of them would load a shared disk.
        has_file = self.file is not None and distributed.is_main() and self.file.exists()
        return distributed.any_rank(self.asked or has_file)

    def restore(self) -> None:
        """Give the signals back to whoever had them before."""
        for s, handler in self.previous.items():
            signal.signal(s, handler)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        """Note the request, unless it is the second Ctrl-C."""
        if self.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
