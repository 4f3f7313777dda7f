"""A dataset being made: its hidden folder, its journal, and what becomes of it when the work ends early."""

import contextlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dataprep.rules import Refused
from dataprep.sources.source import Entry
from dataprep.writers import Packed, TFRecordFiles, Writer
from dnnlib.errors import UserError, printable
from dnnlib.files import fsync, lock, make_dir, os_error
from dnnlib.signals import Deferred
from training.data.labels import Label, LabelSummary

COMMIT_SECONDS = 10.0
SHOWN = 20  # skipped files that are printed


class MixedChannels(Exception):
    """Gray images and RGB ones follow each other: the conversion has to start over, with RGB images only."""


Result = tuple[Packed, tuple[int, ...], tuple[str, ...]] | Refused  # packed image, its shape, notes


class Job:
    """A dataset being made in its hidden folder, with its journal."""

    def __init__(
        self, dst: Path, is_file: bool, make_writer: Callable[[Path], Writer], resume: bool, description: dict[str, Any]
    ) -> None:
        self.dst, self.is_file, self.resume, self._make_writer = dst, is_file, resume, make_writer
        self.work = dst.with_name(f".{dst.name}.partial")
        self._description: dict[str, Any] = json.loads(json.dumps(description))
        self.rgb = False  # gray images are stored as RGB ones
        self._reset()
        self._finished = self._finishing = False
        self._reasons: list[str] = []  # the first ones of skipping
        self._list = dst  # the file with all of them
        self._signals = Deferred()

    def _reset(self) -> None:
        self.consumed = 0
        self.kept = 0
        self.skipped = 0
        self.shape: tuple[int, ...] = ()
        self.first = ""  # the image whose shape that is
        self.notes: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.summary = LabelSummary()
        self._committed = 0  # images that are safe

    def __enter__(self) -> "Job":
        self._check_free()
        make_dir(self.dst.parent)
        try:
            self._open_journal()
            self._check_free()  # it may have been finished meanwhile
            if not (self.resume and self._load()):
                self._begin()
        except OSError as e:
            raise os_error(e, self.dst, "create") from e
        self._last_commit = time.monotonic()
        self._signals.__enter__()
        return self

    def _begin(self) -> None:
        """Empty the hidden folder and begin a journal."""
        for left in self.work.iterdir():
            if left.name != "journal":
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        self._journal.truncate(0)

        self._reset()
        self.writer = self._make_writer(self.work)
        self._note({"made": self._description})

    def start_over_in_rgb(self) -> None:
        """Drop what was made so far; from now on workers store gray images as RGB ones."""
        with self._signals.section():
            self.writer.close()
            self._begin()
            self.rgb = True

    def _check_free(self) -> None:
        """UserError unless there is nothing at the dataset's place, or an empty folder for one that is a folder."""
        if os.path.ismount(self.dst):
            raise UserError(f"{self.dst}: a mount point, expected the name of a new dataset, e.g. in it")
        if os.path.lexists(self.dst) and (self.is_file or not self.dst.is_dir() or any(self.dst.iterdir())):
            raise UserError(f"{self.dst}: exists already, expected the name of a new dataset")

    def _open_journal(self) -> None:
        while True:
            self.work.mkdir(exist_ok=True)
            self._journal = open(self.work / "journal", "a+", encoding="utf-8")  # noqa: SIM115
            if not lock(self._journal):
                raise UserError(f"{self.dst}: another process is making it")
            with contextlib.suppress(FileNotFoundError):  # that process finished between the two lines
                if os.stat(self.work / "journal").st_ino == os.fstat(self._journal.fileno()).st_ino:
                    return

    def _load(self) -> bool:
        """Take up what the journal tells, if there is a commit in it; what comes after the last one may be torn."""
        position = end = 0
        state: dict[str, Any] = {}
        with open(self.work / "journal", "rb") as f:
            for raw in f:
                position += len(raw)
                with contextlib.suppress(ValueError, TypeError):
                    if raw.startswith(b'{"commit"') and raw.endswith(b"\n"):
                        state, end = json.loads(raw)["commit"], position
        if not end:
            return False
        self._journal.truncate(end)
        try:
            self._take_up(state)
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise UserError(f"--continue: {self.work} is damaged ({e}); delete it to start again") from e
        print(f"{printable(str(self.dst))}: going on after {self.kept} images", file=sys.stderr)
        return True

    def _take_up(self, state: dict[str, Any]) -> None:
        made = next(self._lines())["made"]
        if made != self._description:
            keys = [k for k in {**made, **self._description} if made.get(k) != self._description.get(k)]
            changed = ", ".join(f"{k} was {made.get(k)}, is {self._description.get(k)}" for k in keys)
            raise UserError(f"--continue: {self.work} belongs to another conversion: {changed}")
        for line in self._lines():
            self._count(line)
        self.shape = tuple(state["shape"])
        self.first = state["first"]
        self.rgb = state["rgb"]
        self.writer = self._make_writer(self.work)
        self.writer.restore(state["writer"])
        self._committed = self.kept

    def _lines(self) -> Iterator[dict[str, Any]]:
        self._journal.flush()
        with open(self.work / "journal", encoding="utf-8") as f:
            yield from map(json.loads, f)

    def _note(self, line: dict[str, Any]) -> None:
        self._journal.write(json.dumps(line) + "\n")

    def _count(self, line: dict[str, Any]) -> None:
        """Bookkeeping of a line of the journal."""
        if "label" in line:
            label = line["label"]
            self.summary.add(tuple(label) if isinstance(label, list) else label, line["name"])
            self.kept += 1
            for note in line["notes"]:
                self.notes[note] += 1
                self.examples.setdefault(note, line["name"])
        elif "skipped" in line:
            self.skipped += 1
        self.consumed += "label" in line or bool(line.get("entry"))

    def take(self, entry: Entry, result: Result, strict: bool) -> int:
        """Add the result of an entry; returns how many images that were."""
        with self._signals.section():
            return self._take(entry, result, strict)

    def _take(self, entry: Entry, result: Result, strict: bool) -> int:
        if isinstance(result, Refused):
            if result.readable:
                expected = "a square with a power of two >= 8 as side, or --resize LOG2"
                raise UserError(f"{entry.name}: {result.reason}, expected {expected}")
            self.skip(f"{entry.name}: {result.reason}", strict, entry=True)
            return 0
        packed, shape, notes = result
        if not self.shape:
            self.shape, self.first = shape, entry.name
        if shape != self.shape:
            raise self._mismatch(entry.name, shape)
        self.writer.add(packed)
        line = {"label": entry.label, "name": entry.name if notes else "", "notes": notes}
        self._note(line)
        self._count({**line, "name": entry.name})
        if time.monotonic() - self._last_commit > COMMIT_SECONDS:
            self.commit()
        return 1

    def _mismatch(self, name: str, shape: tuple[int, ...]) -> Exception:
        """Return what to raise for an image of another shape than those before it."""
        gray, colour = sorted([shape, self.shape])
        if gray[1:] == colour[1:] and (gray[0], colour[0]) == (1, 3) and isinstance(self.writer, TFRecordFiles):
            return MixedChannels()
        actual, expected = ("x".join(map(str, s)) for s in (shape, self.shape))
        return UserError(f"{name}: {actual} pixels, expected {expected} as in {self.first}, or --resize LOG2")

    def skip(self, reason: str, strict: bool, entry: bool = False) -> None:
        """Note an entry that is left out."""
        if strict:
            raise UserError(reason)
        line = {"skipped": printable(reason), "entry": entry}
        self._note(line)
        self._count(line)

    def commit(self) -> None:
        """Put everything on the disk that was taken so far."""
        state = {"writer": self.writer.position(), "shape": self.shape, "first": self.first, "rgb": self.rgb}
        self._note({"commit": state})
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._committed, self._last_commit = self.kept, time.monotonic()

    def finish(self, facts: dict[str, Any]) -> None:
        """Complete the dataset and move it to its place; Ctrl-C waits."""
        with self._signals.section():
            self._finish(facts)

    def _finish(self, facts: dict[str, Any]) -> None:
        if not self.kept:
            reasons = (line["skipped"] for line in self._lines() if "skipped" in line)
            raise UserError(f"{self.dst}: no image to write; {self.skipped} skipped, e.g. {next(reasons, 'none')}")
        self.commit()
        self._finishing = True
        labels = (_label(line["label"]) for line in self._lines() if "label" in line)
        done = self.writer.finish(facts, labels, self.summary)
        self._reasons = [line["skipped"] for line, _ in zip(self._skips(), range(SHOWN), strict=False)]
        if self.skipped:
            path = done / "skipped.txt" if done.is_dir() else self.work / "skipped.txt"
            with open(path, "w", encoding="utf-8", errors="backslashreplace") as f:
                f.writelines(f"{line['skipped']}\n" for line in self._skips())
            fsync(path)
            self._list = (
                self.dst / "skipped.txt" if done.is_dir() else self.dst.with_name(f"{self.dst.name}.skipped.txt")
            )
            if not done.is_dir():
                os.replace(path, self._list)
        for path in done.iterdir() if done.is_dir() else ():
            if not path.name.startswith("img"):
                fsync(path)
        fsync(done)
        self._check_free()
        os.replace(done, self.dst)
        fsync(self.dst.parent)
        self._finished = True

    def _skips(self) -> Iterator[dict[str, Any]]:
        return (line for line in self._lines() if "skipped" in line)

    def report(self) -> None:
        """Say what came of it."""
        print(f"{printable(str(self.dst))}: {self.kept} images of {self.shape[1]}x{self.shape[2]}")
        for note, n in self.notes.items():
            which = printable(self.examples[note])
            print(f"{n} {'image' if n == 1 else 'images'} {note}, e.g. {which}", file=sys.stderr)
        if self.skipped:
            of, where = self.kept + self.skipped, printable(str(self._list))
            more = [f"... and {self.skipped - SHOWN} more"] if self.skipped > SHOWN else []
            print(
                f"skipped {self.skipped} of {of}, listed in {where}:",
                *self._reasons,
                *more,
                sep="\n  ",
                file=sys.stderr,
            )

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._signals.__exit__()
        with contextlib.suppress(OSError):
            if isinstance(error, (KeyboardInterrupt, SystemExit)) and self.kept and not self._finishing:
                self.commit()
        with contextlib.suppress(OSError):
            self.writer.close()
        if self._committed and not self._finished:
            dst, work = printable(str(self.dst)), printable(str(self.work))
            print(
                f"{dst}: {self._committed} images are done and kept in {work}; "
                "the same command with --continue goes on, without it starts again",
                file=sys.stderr,
            )
        else:
            shutil.rmtree(self.work, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._journal.close()  # gives up the lock
        if isinstance(error, OSError):
            raise os_error(error, self.dst, "write") from error


def _label(value: Any) -> Label:
    return tuple(value) if isinstance(value, list) else value
