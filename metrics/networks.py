"""Which networks a call scores, and what the run they belong to was trained with."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tqdm import tqdm

from dnnlib.errors import UserError
from metrics.options import Options
from metrics.results import kimg_of


class NetworkFile(Protocol):
    """What metrics need of an opened network file (pretrained.network_file.NetworkFile)."""

    spec: Any

    def generator(self) -> Any: ...


class Snapshot(NamedTuple):
    """A network file and the snapshot that precedes it in its run, if there is one."""

    network: str
    previous: str | None = None


@dataclass(frozen=True)
class Resolved:
    """What is scored, and the options that a run's config.json fills in."""

    networks: list[Snapshot]  # earliest first; empty = the images of --images
    run_dir: Path | None
    data: Path | None
    use_labels: bool
    mirror: bool
    seed: int


def resolve(options: Options) -> Resolved:
    """Find the networks, and complete the options from the run that they belong to."""
    networks, run_dir = find_networks(options)
    if run_dir is None:
        return Resolved(networks, None, options.data, True, options.mirror, options.seed or 0)

    path = run_dir / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise UserError(f"{path}: not readable ({e}), expected that of a run") from e

    data, use_labels = options.data, True
    if data is None and config.get("data"):
        data = Path(config["data"])
        use_labels = config.get("use_labels", True)
        if not data.exists():
            tqdm.write(f"warning: {data}: the dataset of the run is not there; --data tells where it is", sys.stderr)
            data = None

    seed = config.get("seed", 0) if options.seed is None else options.seed
    mirror = options.mirror or bool(config.get("mirror"))
    return Resolved(networks, run_dir, data, use_labels, mirror, seed)


def find_networks(options: Options) -> tuple[list[Snapshot], Path | None]:
    """Return the networks to score, earliest first, and the run dir that they belong to."""
    if options.images is not None:
        return [], None

    path = Path(options.network or "")
    if options.run_id is not None:
        path = _find_run(options.result_dir, options.run_id)
    if path.is_dir():
        return _select(path, options.snapshot), path

    # A file may belong to a run as well, also by way of the link best.safetensors.
    path = path.resolve()
    if not (path.is_file() and (path.parent / "config.json").is_file()):
        return [Snapshot(options.network or "")], None
    known = {snapshot.network: snapshot for snapshot in snapshots_of(path.parent)}
    return [known.get(str(path), Snapshot(str(path)))], path.parent


def snapshots_of(run_dir: Path) -> list[Snapshot]:
    """Return the snapshots of a run, earliest first."""
    paths = sorted(run_dir.glob("network-snapshot-*.safetensors"), key=lambda path: kimg_of(path.name) or 0)
    names = [str(path) for path in paths]
    return [Snapshot(name, previous) for name, previous in zip(names, [None, *names], strict=False)]


def _find_run(result_dir: Path, run_id: int) -> Path:
    """Return the only run dir of this number."""
    run_dirs = sorted(result_dir.glob(f"{run_id:05d}-*"))
    if len(run_dirs) != 1:
        raise UserError(f"--run-id {run_id}: {len(run_dirs)} run dirs {run_id:05d}-* in {result_dir}, expected one")
    return run_dirs[0]


def _select(run_dir: Path, choice: str) -> list[Snapshot]:
    """Return the snapshots that `choice` names: a number of kimg, `latest` or `all`."""
    snapshots = snapshots_of(run_dir)
    if not snapshots:
        raise UserError(f"{run_dir}: no network-snapshot-*.safetensors in it, expected a run dir of train.py")
    if choice == "all":
        return snapshots
    if choice == "latest":
        return snapshots[-1:]

    by_kimg = {kimg_of(Path(snapshot.network).name): snapshot for snapshot in snapshots}
    try:
        return [by_kimg[float(choice)]]
    except (KeyError, ValueError):
        known = ", ".join(f"{kimg:g}" for kimg in by_kimg if kimg is not None)
        raise UserError(f"--snapshot {choice}: not in {run_dir}, expected latest, all, or one of {known}") from None
