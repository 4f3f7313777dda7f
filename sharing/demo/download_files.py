"""Files that visitors may download."""

import itertools
import threading
from collections import deque
from pathlib import Path

MOST_FILES = 256


class DownloadFiles:
    """Files in a folder, of which the oldest are removed when there are too many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: deque[Path] = deque()
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def new(self, name: str) -> Path:
        """Return where a file of this name can be written."""
        # Each has a folder of its own, because several may have the same name.
        with self._lock:
            path = self._folder / str(next(self._numbers)) / name
            path.parent.mkdir(parents=True)
            self._files.append(path)
            while len(self._files) > MOST_FILES:
                oldest = self._files.popleft()
                oldest.unlink(missing_ok=True)
                oldest.parent.rmdir()
        return path

    def write(self, name: str, data: bytes) -> str:
        """Write a file and return its path."""
        path = self.new(name)
        path.write_bytes(data)
        return str(path)
