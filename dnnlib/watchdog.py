"""Ends a process that hangs, and says where: a run that stands still for a night costs as much as one that learns."""

import contextlib
import faulthandler
import itertools
import json
import math
import os
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dnnlib import distributed
from dnnlib.files import PARTIAL

LONGEST_LOOK = 5.0  # seconds between two looks
PATIENCE = 3  # looks that a process which waits for others leaves to those, so that they can speak for themselves
STATUS = 75  # exit status of a process that was ended: "temporary failure" of sysexits.h


class Watchdog:
    """A thread that looks whether the main thread moves, and ends the process if it has not for `limit` seconds.

    It prints which process hangs, what it was doing, and the stacks of all threads. A process that waits for others
    leaves them the time to end first, and names those that it has waited for. With a limit of 0, none is ended.

    heartbeat: file in which the main process says every few seconds what each process is doing.

    The time in which all of a process was stopped (Ctrl-Z, a suspended machine) does not count.

    `distributed.init` must have been called, and all processes must have a watchdog.
    """

    def __init__(self, limit: float, heartbeat: Path | None = None) -> None:
        self.limit = limit or math.inf
        self.period = min(LONGEST_LOOK, self.limit / 10)
        self.heartbeat = heartbeat if distributed.is_main() else None
        self.doing = "starting"
        self.since = time.monotonic()

        # What each process has told last, and when that was heard here.
        self.heard: dict[int, tuple[dict[str, Any], float]] = {}

        # The connection between the processes may hang as well, so another thread uses it.
        self.ended = threading.Event()
        tasks = [self._watch, self._talk] if distributed.world_size() > 1 else [self._watch]
        is_needed = limit or heartbeat
        self.threads = [threading.Thread(target=task, name="watchdog", daemon=True) for task in tasks if is_needed]
        for thread in self.threads:
            thread.start()

    def now(self, doing: str) -> None:
        """Note that the main thread moves, and what it does next, e.g. `D step at 1.024 kimg`."""
        self.doing, self.since = doing, time.monotonic()

    def close(self) -> None:
        """End the threads."""
        self.ended.set()
        for thread in self.threads:
            thread.join(PATIENCE * self.period)
        if self.heartbeat:
            self._write(self.heartbeat)

    def _watch(self) -> None:
        """End this process when it has not moved for too long."""
        last = time.monotonic()
        while not self.ended.wait(self.period):
            # If this thread was not woken in time, the process was stopped.
            now = time.monotonic()
            lost = now - last - self.period
            if lost > self.period:
                self.since += lost
                self.heard = {rank: (told, at + lost) for rank, (told, at) in dict(self.heard).items()}
            last = now
            if self.heartbeat:
                self._write(self.heartbeat)

            is_waiting = distributed.is_waiting()
            seconds = now - self.since
            if seconds > self.limit + PATIENCE * self.period * is_waiting:
                self._end(seconds, is_waiting)

    def _write(self, path: Path) -> None:
        """Write the heartbeat."""
        # What this process does is known best here; the others have told.
        processes = {rank: (told["doing"], at) for rank, (told, at) in dict(self.heard).items()}
        processes[0] = self.doing, self.since
        now = time.monotonic()
        facts = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "processes": [
                {"rank": rank, "doing": doing, "seconds": round(now - since, 1)}
                for rank, (doing, since) in sorted(processes.items())
            ],
        }

        # Readers never see a part of it; it need not be on the disk, and a full disk must not end the run here. The
        # number lets whoever continues the run clean up after a kill.
        temporary = path.with_name(f".{path.name}.0{PARTIAL}")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
            os.replace(temporary, path)

    def _talk(self) -> None:
        """Tell the other processes what this one does, and hear what they do."""
        # Once the process that keeps the store is gone, there is nobody to talk to.
        with contextlib.suppress(Exception):
            store = distributed.open_store("watchdog")
            ranks = [str(rank) for rank in range(distributed.world_size())]

            for number in itertools.count():
                mine = {"number": number, "doing": self.doing, "is_waiting": distributed.is_waiting()}
                store.set(ranks[distributed.rank()], json.dumps(mine))
                if number == 0:
                    store.wait(ranks)

                # With a thousand processes, each would read a thousand answers: only those listen that will tell.
                is_late = time.monotonic() - self.since > self.limit / 2
                listens = self.heartbeat is not None or is_late
                for rank, text in enumerate(store.multi_get(ranks) if listens else []):
                    told = json.loads(text)
                    if rank not in self.heard or self.heard[rank][0] != told:
                        self.heard[rank] = told, time.monotonic()
                if self.ended.wait(self.period):
                    return

    def _end(self, seconds: float, is_waiting: bool) -> None:
        """Say where this process hangs, and end it."""
        rank = distributed.rank()
        lines = [f"error: process {rank} has not moved for {seconds:.0f} s: {self.doing}"]
        if is_waiting:
            lines = [f"error: process {rank} has waited {seconds:.0f} s for other processes: {self.doing}"]
            lines += self._others(rank)
        lines.append(f"process {rank} ends (--hang-timeout {self.limit:g}); its stacks:")
        print("\n".join(lines), file=sys.stderr, flush=True)

        # Nothing can be cleaned up in a process whose main thread does not come back.
        faulthandler.dump_traceback(2, all_threads=True)
        os._exit(STATUS)

    def _others(self, rank: int) -> list[str]:
        """Return what the processes that are not waiting do, a line for each, as far as it is known."""
        lines = []
        for other in range(distributed.world_size()):
            told, at = self.heard.get(other, ({}, self.since))
            silence = time.monotonic() - at
            if other == rank:
                continue
            if silence > PATIENCE * self.period:
                lines.append(f"process {other} has not answered for {silence:.0f} s: {told.get('doing', 'starting')}")
            elif not told.get("is_waiting"):
                lines.append(f"process {other} does not wait: {told['doing']}")
        return lines
