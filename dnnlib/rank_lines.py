"""What processes other than the main one print, marked with their rank."""

import os
import sys
from typing import Any, TextIO


class RankLines:
    """A stream that writes each line to another stream behind a mark such as `[rank 3] `."""

    def __init__(self, stream: TextIO, mark: str) -> None:
        self.stream, self.mark = stream, mark
        self.at_start = True

    def write(self, text: str) -> int:
        """Write text, with the mark at the beginning of each line."""
        for line in text.splitlines(keepends=True):
            self.stream.write(self.mark + line if self.at_start else line)
            self.at_start = line.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def mark_lines() -> None:
    """Mark what this process prints from now on with the rank that its launcher gave it, unless it is the main one."""
    rank = int(os.environ.get("RANK", 0))
    if rank and not isinstance(sys.stderr, RankLines):
        sys.stdout = RankLines(sys.stdout, f"[rank {rank}] ")  # type: ignore[assignment]
        sys.stderr = RankLines(sys.stderr, f"[rank {rank}] ")  # type: ignore[assignment]
