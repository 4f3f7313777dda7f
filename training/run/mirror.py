"""Runs whose results belong into an object store: trained in a local run dir, a copy of which is kept there.

The copy is described by `manifest.json`, which is written last: names of files, the keys under which they are stored,
sizes and hashes. A file that has changed is stored under a new key, and the old one is deleted after the manifest is
there. Whoever reads the manifest at any moment finds a whole run, however the upload of the next one ends.
"""

import contextlib
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from dnnlib.errors import UserError
from dnnlib.files import make_dir
from dnnlib.object_store import ObjectStore, cache_folder, file_hash, is_remote
from training.config import TrainConfig
from training.data.dataset import Dataset
from training.run.run_dir import Run, description, open_run

MANIFEST = "manifest.json"
# What a run needs in order to go on elsewhere, besides its newest checkpoints.
NEEDED = ("config.json", "run.json", "log.txt", "stats.jsonl", "tracker-id", "reals.png")
CHECKPOINTS = 2
SNAPSHOT = r"network-snapshot-(\d{6,}(?:\.\d{3})?)\.safetensors"


class Mirror:
    """Keeps the copy of a run dir up to date, in a thread of its own."""

    def __init__(self, run_dir: Path, url: str) -> None:
        self.run_dir = run_dir
        self.store = ObjectStore(f"{url.rstrip('/')}/{run_dir.name}")
        self.entries = read_manifest(self.store)

        # State of each file when it was last handed to the thread.
        self.seen: dict[str, tuple[int, int]] = {}
        self.number = 0

        # The newest state that waits to be uploaded: a folder, and the names of all files of the run.
        self.waiting: tuple[Path, set[str]] | None = None
        self.changed = threading.Condition()
        self.is_busy = False
        self.error: UserError | None = None
        threading.Thread(target=self._work, name="upload", daemon=True).start()

    def push(self) -> None:
        """Hand the run dir as it is now to the thread; a state that still waits is replaced."""
        # A run that has failed before its first step leaves nothing.
        if not self.run_dir.exists():
            return

        staged = make_dir(self.run_dir.parent / ".uploads" / f"{self.run_dir.name}-{os.getpid()}-{self.number}")
        self.number += 1
        names = set()
        for path in sorted(self.run_dir.rglob("*")):
            name = path.relative_to(self.run_dir).as_posix()
            if path.is_symlink() or not path.is_file() or any(part.startswith(".") for part in name.split("/")):
                continue
            names.add(name)
            self._stage(path, staged / name)

        with self.changed:
            if self.waiting is not None:
                # What only the older state holds is still to be uploaded.
                _merge(self.waiting[0], staged)
            self.waiting = staged, names
            self.changed.notify_all()

    def finish(self) -> None:
        """Upload the last state and wait for it; raise UserError if that fails."""
        self.push()
        with self.changed:
            self.changed.wait_for(lambda: self.waiting is None and not self.is_busy)
            if self.error is not None:
                raise UserError(f"{self.error}; everything is in {self.run_dir}")

    def _stage(self, path: Path, copy: Path) -> None:
        """Keep a file as it is now, if it has changed since the last time."""
        status = path.stat()
        state = (status.st_size, status.st_mtime_ns)
        name = path.relative_to(self.run_dir).as_posix()
        if self.seen.get(name) == state:
            return

        # Files that grow are copied; all others are replaced as a whole, and a second name keeps them.
        make_dir(copy.parent)
        if path.suffix in (".txt", ".jsonl") or "tfevents" in path.name:
            shutil.copy2(path, copy)
        else:
            os.link(path, copy)
        self.seen[name] = state

    def _work(self) -> None:
        """Upload one state after the other."""
        while True:
            with self.changed:
                self.is_busy = False
                self.changed.notify_all()
                self.changed.wait_for(lambda: self.waiting is not None)
                assert self.waiting is not None
                (staged, names), self.waiting = self.waiting, None
                self.is_busy = True

            try:
                self._upload(staged, names)
                self.error = None
            except UserError as e:
                # The next state is uploaded together with this one.
                self.error = e
                print(f"warning: {e}; the next snapshot tries again", file=sys.stderr)
                for path in staged.rglob("*"):
                    self.seen.pop(path.relative_to(staged).as_posix(), None)
            shutil.rmtree(staged, ignore_errors=True)

    def _upload(self, staged: Path, names: set[str]) -> None:
        """Upload the files of a state that have changed, then the manifest; then delete what is not needed any more."""
        entries, old_keys = dict(self.entries), []
        for path in sorted(path for path in staged.rglob("*") if path.is_file()):
            name = path.relative_to(staged).as_posix()
            digest = file_hash(path)
            before = entries.get(name)
            if before is not None and before["sha256"] == digest:
                continue

            key = name
            if before is not None:
                old_keys.append(before["key"])
                version = re.search(r"\.v(\d+)$", before["key"])
                key = f"{name}.v{int(version[1]) + 1 if version else 2}"
            self.store.upload(path, key)
            entries[name] = {"key": key, "size": path.stat().st_size, "sha256": digest}

        # Files that this machine has had and deleted; those that it never had stay.
        for name in [name for name in entries if name in self.seen and name not in names]:
            old_keys.append(entries.pop(name)["key"])
        content = {"version": 1, "written": datetime.now(UTC).isoformat(timespec="seconds"), "files": entries}
        self.store.write(MANIFEST, (json.dumps(content, indent=1) + "\n").encode())
        self.entries = entries
        for key in old_keys:
            self.store.delete(key)


@contextlib.contextmanager
def uploaded(mirror: Mirror | None) -> Iterator[None]:
    """Upload what a run has left when the block ends, also if the block fails; raise UserError if that fails."""
    try:
        yield
    except Exception:
        # The error of the run is the one to be shown.
        with contextlib.suppress(UserError):
            if mirror is not None:
                mirror.finish()
        raise
    if mirror is not None:
        mirror.finish()


def read_manifest(store: ObjectStore) -> dict[str, dict[str, Any]]:
    """Return the files of a run by name, nothing if there is no run yet; raise UserError if the manifest is damaged."""
    content = store.read(MANIFEST)
    if content is None:
        return {}

    where = f"{store.url}/{MANIFEST}"
    try:
        manifest = json.loads(content)
        files: dict[str, dict[str, Any]] = manifest["files"]
        version = manifest["version"]
        is_whole = all({"key", "size", "sha256"} <= entry.keys() for entry in files.values())
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        raise UserError(f"{where}: damaged: {e}, expected the manifest of a run") from e
    if version != 1 or not is_whole:
        raise UserError(f"{where}: version {version}, expected 1")
    for name in files:
        if name.startswith("/") or ".." in name.split("/"):
            raise UserError(f"{where}: {name}: leads out of the run dir")
    return files


def open_any_run(cfg: TrainConfig, dataset: Dataset) -> Run:
    """Return the run dir that `cfg` asks for, as `open_run` does; results may belong into an object store."""
    if not is_remote(cfg.result_dir):
        return open_run(cfg, dataset)

    # A copy of the store's folder, as far as it is needed.
    results = make_dir(cache_folder("runs") / sha256(cfg.result_dir.encode()).hexdigest()[:16])
    store = ObjectStore(cfg.result_dir)
    names = sorted((name for name in store.folders() if re.match(r"\d+-", name)), reverse=True)
    if cfg.resume == "auto":
        pattern = re.compile(rf"\d+-{re.escape(description(cfg, dataset.name))}-\d+gpu")
        for name in filter(pattern.fullmatch, names):
            if pull(f"{store.url}/{name}", results / name) < round(cfg.total_kimg * 1000):
                break
    elif is_remote(cfg.resume):
        name = cfg.resume.rstrip("/").rpartition("/")[2]
        pull(cfg.resume, results / name)
        cfg = replace(cfg, resume=str(results / name))

    run = open_run(replace(cfg, result_dir=str(results)), dataset, names)
    run.mirror = Mirror(run.path, cfg.result_dir)
    run.messages.append(f"results   {run.mirror.store.url}, from {run.path}")
    return run


def pull(url: str, run_dir: Path) -> float:
    """Copy what a run needs in order to go on from an object store, and return its progress in images.

    What is here stays, if it has come as far. Raise UserError if the copy cannot be read.
    """
    store = ObjectStore(url)
    entries = read_manifest(store)
    remote = sorted((name for name in entries if _progress(name) >= 0), key=_progress, reverse=True)
    progress = 1000 * max(map(_progress, remote), default=-1.0)
    local = 1000 * max((_progress(path.name) for path in run_dir.glob("checkpoint-*.pt")), default=-1.0)
    if local >= progress:
        return max(local, 0.0)

    for name in (*(name for name in NEEDED if name in entries), *remote[:CHECKPOINTS]):
        entry = entries[name]
        store.download(entry["key"], run_dir / name, entry["sha256"])
    return progress


def remote_network(url: str, snapshot: str) -> str:
    """Return the local copy of a snapshot of a run in an object store, or `url` itself if that is no run.

    snapshot: `latest` or a number of kimg; raise UserError if there is no such one.
    """
    store = ObjectStore(url)
    entries = read_manifest(store)
    by_kimg = {float(match[1]): name for name in entries if (match := re.fullmatch(SNAPSHOT, name))}
    if not by_kimg:
        return url

    try:
        kimg = max(by_kimg) if snapshot == "latest" else float(snapshot)
        name = by_kimg[kimg]
    except (ValueError, KeyError):
        known = ", ".join(f"{kimg:g}" for kimg in sorted(by_kimg))
        raise UserError(f"--snapshot {snapshot}: not in {url}, expected latest, or one of {known}") from None
    entry = entries[name]
    path = cache_folder("networks") / entry["sha256"] / name
    if not path.exists():
        store.download(entry["key"], path, entry["sha256"])
    return str(path)


def _progress(name: str) -> float:
    """Return the kimg that the name of a checkpoint carries, -1 for other files."""
    match = re.fullmatch(r"checkpoint-(\d{6,}(\.\d{3})?)\.pt", name)
    return float(match[1]) if match else -1.0


def _merge(older: Path, newer: Path) -> None:
    """Move the files of one folder into another, unless they are there."""
    for path in [path for path in older.rglob("*") if path.is_file()]:
        target = newer / path.relative_to(older)
        if not target.exists():
            make_dir(target.parent)
            path.rename(target)
    shutil.rmtree(older)
