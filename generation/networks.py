"""Which network file a command means: a file, a URL, a run dir, or the number of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pretrained
from dnnlib.errors import UserError
from dnnlib.hub import is_hub
from dnnlib.object_store import is_remote
from metrics.networks import find_run, select_snapshots, snapshots_of
from metrics.result_files import BEST
from pretrained import warm_start
from pretrained.loading import HUB_NAME
from training.run.mirror import remote_network
from training.warm_start import InitialWeights


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which network is used."""

    network: str | None = None
    """Network file of any kind (snapshot, TF1 pickle, BMSG-GAN .pth) or its URL, hf://user/repo on the Hugging Face
    Hub, a run dir, or the number of a run. Default: the network that ships with the project."""
    snapshot: str = "latest"
    """Which snapshot of a run dir: latest, best (the lowest FID so far), or its kimg."""
    result_dir: Path = Path("results")
    """Folder of run dirs, in which the number of a run is looked for."""

    def find(self) -> str:
        """Return the network file or URL; raise UserError if there is no such run or snapshot."""
        return find_network(self.network, self.snapshot, self.result_dir)


DEFAULT = Path(pretrained.__file__).parent / "default.safetensors"
"""The network that ships with the project; docs/default-network.md tells how it was trained."""


def load_initial(files: Sequence[str]) -> InitialWeights:
    """Return the networks that a run starts from; run dirs among the files stand for their newest snapshots."""
    return warm_start.load_initial(initial_files(files))


def initial_files(files: Sequence[str]) -> list[str]:
    """Return the network files of `train.py --init`, in place of run dirs their newest snapshots."""
    return [find_network(file) if Path(file).is_dir() else file for file in files]


def find_network(network: str | None, snapshot: str = "latest", result_dir: Path = Path("results")) -> str:
    """Return the network file or URL that `network` stands for.

    network: a file of any kind or a URL, which stay as they are; a run dir; the number of a run in `result_dir`; or
        None for the network that ships with the project.
    snapshot: of a run dir: `latest`, `best` (the lowest FID so far), or a number of kimg. Raises UserError if there is
    no such run or snapshot.
    """
    # What the project brings along.
    if network is None:
        return str(DEFAULT)
    if not network:
        raise UserError("--network: empty, expected a network file, its URL, a run dir, or the number of a run")

    if is_remote(network) and not is_hub(network):
        return remote_network(network, snapshot)

    path = Path(network)
    if network.isdecimal() and not path.exists():
        path = find_run(int(network), result_dir, "--network")

    # A repository of the Hub that was downloaded, or written by `export.py hub`.
    if (path / HUB_NAME).is_file():
        return str(path / HUB_NAME)

    # Files and URLs are checked by whoever opens them; so are folders that are no run dirs, of the originals neither.
    if not (path / "config.json").is_file() and not (path.is_dir() and snapshots_of(path)):
        if snapshot != "latest":
            raise UserError(f"--snapshot {snapshot}: {network} is no run dir, which it would choose from")
        return network
    if snapshot == "all":
        raise UserError("--snapshot all: expected latest, best, or a number of kimg")
    if snapshot != "best":
        return select_snapshots(path, snapshot)[-1].network

    best = path / BEST
    if not best.exists():
        raise UserError(f"{best}: no such file; score the run with fid first, or use --snapshot latest")
    return str(best.resolve())
