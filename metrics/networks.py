"""Which networks a call scores, and what the run that they belong to was trained with."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from dnnlib.errors import UserError
from dnnlib.files import read_json
from dnnlib.object_store import is_remote
from metrics.options import Options
from metrics.results import kimg_of
from metrics.settings import Settings

Load = Callable[[str], Any]
"""Opens a network file, given its path or URL, as pretrained.network_file.NetworkFile."""


class Snapshot(NamedTuple):
    """A network file, and the snapshot that precedes it in its run, if there is one."""

    network: str
    previous: str | None = None


class Target(NamedTuple):
    """What is scored, against what, and how."""

    snapshots: list[Snapshot]  # earliest first; empty = the images of --images
    run_dir: Path | None
    data: Path | None
    use_labels: bool
    settings: Settings


def find_target(options: Options) -> Target:
    """Find the networks, and complete the options from the run that the networks belong to."""
    snapshots, run_dir = find_snapshots(options)
    config = _read_options(run_dir / "config.json") if run_dir else {}

    # Without --data the reals are those that the run was trained with.
    data, use_labels = options.data, True
    if data is None and config.get("data"):
        data = Path(config["data"])
        use_labels = config.get("use_labels", True)

        # Some metrics need no dataset.
        if not is_remote(data) and not data.exists():
            tqdm.write(f"warning: {data}: the dataset of the run is not there; --data tells where it is", sys.stderr)
            data = None

    # Options that were given go before those of the run.
    settings = options.settings
    seed = config.get("seed", 0) if settings.seed is None else settings.seed
    mirror = settings.mirror or bool(config.get("mirror"))
    return Target(snapshots, run_dir, data, use_labels, replace(settings, seed=seed, mirror=mirror))


def _read_options(path: Path) -> dict[str, Any]:
    """Return the options of a run; raise UserError if those that scores depend on are of wrong types."""
    config = read_json(path, "that of a run")
    if not isinstance(config, dict):
        raise UserError(f"{path}: found {type(config).__name__}, expected the options of a run")
    for name, kind in {"data": str, "use_labels": bool, "mirror": bool, "seed": int}.items():
        if name in config and type(config[name]) is not kind:
            raise UserError(f"{path}: {name} is {type(config[name]).__name__}, expected {kind.__name__}")
    return config


def find_snapshots(options: Options) -> tuple[list[Snapshot], Path | None]:
    """Return the networks to score, earliest first, and the run dir that they belong to, if they do."""
    if options.images is not None:
        return [], None

    # A run dir, by its number or its path.
    path = Path(options.network or "")
    if options.run_id is not None:
        path = find_run(options.run_id, options.result_dir, "--run-id")
    if path.is_dir():
        snapshots = select_snapshots(path, options.snapshot)
        return snapshots, path if (path / "config.json").is_file() else None  # old runs have no options to read

    # A file may belong to a run as well, also by way of the link best.safetensors.
    path = path.resolve()
    if path.is_file() and (path.parent / "config.json").is_file():
        return [snapshot_at(path)], path.parent
    return [Snapshot(options.network or "")], None


def find_run(number: int, result_dir: Path, option: str) -> Path:
    """Return the run dir of this number, which `option` gave; raise UserError unless there is exactly one."""
    pattern = f"{number:05d}-*"
    run_dirs = sorted(result_dir.glob(pattern))
    if len(run_dirs) != 1:
        raise UserError(f"{option} {number}: {len(run_dirs)} run dirs {pattern} in {result_dir}, expected one")
    return run_dirs[0]


def snapshot_at(path: Path) -> Snapshot:
    """Return the network at `path` in a run dir, with the snapshot that precedes it."""
    known = {snapshot.network: snapshot for snapshot in snapshots_of(path.parent)}
    return known.get(str(path), Snapshot(str(path)))


def snapshots_of(run_dir: Path) -> list[Snapshot]:
    """Return the snapshots of a run, earliest first; also those of a run of msg-stylegan-tf or StyleGAN."""
    found = list(run_dir.glob("network-snapshot-*.safetensors"))
    if not found:
        found = [*run_dir.glob("network-snapshot-*.pkl"), *run_dir.glob("network-final.pkl")]

    def progress(path: Path) -> float:
        # The last network of an old run has no number.
        kimg = kimg_of(path.name)
        return math.inf if kimg is None else kimg

    paths = sorted(found, key=progress)
    names = [str(path) for path in paths]
    return [Snapshot(name, previous) for name, previous in zip(names, [None, *names], strict=False)]


def select_snapshots(run_dir: Path, choice: str) -> list[Snapshot]:
    """Return the snapshots that `choice` names: a number of kimg, `latest` or `all`."""
    snapshots = snapshots_of(run_dir)
    if not snapshots:
        raise UserError(f"{run_dir}: no network-snapshot-*.safetensors in it, expected a run dir of train.py")
    if choice in ("latest", "all"):
        return snapshots if choice == "all" else snapshots[-1:]

    # Numbers are compared, not texts: 0.128 finds network-snapshot-000000.128.safetensors.
    by_kimg = {kimg_of(Path(snapshot.network).name): snapshot for snapshot in snapshots}
    try:
        return [by_kimg[float(choice)]]
    except (KeyError, ValueError):
        known = ", ".join(f"{kimg:g}" for kimg in by_kimg if kimg is not None)
        raise UserError(f"--snapshot {choice}: not in {run_dir}, expected latest, or one of {known}") from None
