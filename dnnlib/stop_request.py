"""Being asked to stop, on any number of processes."""

import os
import signal
from pathlib import Path
from types import FrameType

from torch.distributed import Store

from dnnlib import distributed

NOTE = "asked"


class StopRequest:
    """A flag that SIGTERM and SIGINT raise, to end a program at the next good moment; a second SIGINT ends it at once.

    Call it to learn whether any process was asked to stop, or whether `file`, once it is set, exists.
    """

    def __init__(self) -> None:
        self.asked = False
        self.file: Path | None = None

        # Where processes leave a note for the main one, and whether this one has.
        self.store: Store | None = None
        self.is_noted = False

        # A launcher that is killed sends no signal, but another process becomes the parent.
        self.parent = os.getppid()
        self.previous = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def __call__(self) -> bool:
        """Return the same answer on all processes, which must ask together.

        It is asked after every step. So a process that was asked leaves a note for the main one, and all take over the
        answer of that one: a sum over a thousand processes would take much longer, since it goes from one to the next.
        """
        # Nobody is left to report to.
        if distributed.world_size() > 1 and os.getppid() != self.parent:
            os._exit(1)

        # One process looks for the file, since a thousand of them would load a shared disk.
        has_file = self.file is not None and distributed.is_main() and self.file.exists()
        if distributed.world_size() == 1:
            return self.asked or has_file

        self.store = self.store or distributed.open_store("stop")
        if distributed.is_main():
            return distributed.main_flag(self.asked or has_file or self.store.check([NOTE]))
        if self.asked and not self.is_noted:
            self.store.set(NOTE, "")
            self.is_noted = True
        return distributed.main_flag(False)

    def restore(self) -> None:
        """Give the signals back to whoever had them before."""
        for s, handler in self.previous.items():
            signal.signal(s, handler)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        """Note the request, unless it is the second Ctrl-C."""
        if self.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
