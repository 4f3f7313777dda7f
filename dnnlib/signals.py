"""Interruptions that wait for the end of what must not be torn."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Deferred:
    """While entered, SIGINT and SIGTERM that arrive within `section` take effect at its end, others at once. Handlers
    that ignore a signal, or leave it to the system, stay."""

    def __enter__(self) -> "Deferred":
        self._handlers: dict[int, Any] = {}
        self._inside = False
        self._arrived: int | None = None
        if threading.current_thread() is threading.main_thread():
            for s in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(s)):
                    self._handlers[s] = signal.signal(s, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for s, handler in self._handlers.items():
            signal.signal(s, handler)

    def _receive(self, signum: int, frame: Any) -> None:
        if self._inside:
            self._arrived = signum
        else:
            self._handlers[signum](signum, frame)

    @contextlib.contextmanager
    def section(self) -> Iterator[None]:
        """What is done as a whole."""
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            if self._arrived is not None:
                signum, self._arrived = self._arrived, None
                self._handlers[signum](signum, None)
