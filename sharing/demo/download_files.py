"""Files on their way to visitors."""

import itertools
import threading
from collections import deque
from pathlib import Path

from dnnlib.files import make_dir

MOST_FILES = 128  # more than one answer to a visitor has


class DownloadFiles:
    """New files in a folder, until gradio has copied them into its cache; the oldest are removed.

    Pictures go through files as well: gradio renames its copy of a file into place, but writes an array over a file
    that another visitor may be reading.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = make_dir(folder)
        self._files: deque[Path] = deque()
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def new(self, name: str) -> Path:
        """Return where a file of this name can be written."""
        # Each has a folder of its own, because several may have the same name.
        with self._lock:
            path = self._folder / str(next(self._numbers)) / name
            path.parent.mkdir()
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
