"""run.json: where the files of a run come from, so that it can be understood and repeated years later."""

import contextlib
import json
import platform
import shlex
import socket
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic
from dnnlib.privacy import without_home, without_secrets
from training.config import TrainConfig
from training.data.dataset import Dataset

ROOT = Path(__file__).parents[2]
PACKAGES = ("dnnlib", "cluster", "training", "dataprep", "metrics", "pretrained", "generation", "sharing")
SCRIPTS = (
    *("config.py", "train.py", "dataset_tool.py", "generate.py", "run_metrics.py", "report.py", "demo.py", "export.py"),
    *("submit.py", "sagemaker_train.py"),
    *("pyproject.toml", "constraints.txt"),
)
# What is kept of each earlier session.
SESSION = ("command", "started", "ended", "outcome", "from_kimg", "to_kimg", "host")
GIT_SECONDS = 10  # that git may take on a slow disk


class Provenance:
    """The run.json of a run dir: this session, from its start to its end, and those before it under `earlier`."""

    def __init__(self, run_dir: Path, cfg: TrainConfig, dataset: Dataset, device: torch.device, kimg: float) -> None:
        """Write the file for a session that starts now, at `kimg`."""
        self.path = run_dir / "run.json"
        last = _read(self.path)
        fingerprint = dataset.fingerprint()

        # Whoever continues a run after the dataset was made anew may not know that.
        self.dataset_has_changed = last is not None and last["data"].get("fingerprint") != fingerprint
        self.facts: dict[str, Any] = {
            "command": _private(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
            "started": _now(),
            "ended": None,
            "outcome": "running, or ended without a chance to say so",
            "from_kimg": kimg,
            "to_kimg": None,
            "host": socket.gethostname(),
            "system": platform.platform(),
            "devices": f"{cfg.gpus} x {device_name(device)}",
            "versions": _versions(),
            "code": _code(),
            "data": {"path": _private(cfg.data), "images": len(dataset), "fingerprint": fingerprint},
            "earlier": [] if last is None else [*last["earlier"], {key: last[key] for key in SESSION}],
        }
        self._write()

    def end(self, outcome: str, kimg: float) -> None:
        """Write how the session ended, and at which kimg."""
        self.facts |= {"ended": _now(), "outcome": outcome, "to_kimg": kimg}
        with contextlib.suppress(UserError):  # on a full disk, which has ended the run
            self._write()

    def _write(self) -> None:
        with atomic(self.path) as temporary:
            temporary.write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")


def save_code(run_dir: Path) -> None:
    """Write the Python files of this program into code.zip."""
    paths = [
        *(ROOT / script for script in SCRIPTS),
        *(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")),
    ]
    with atomic(run_dir / "code.zip") as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(filter(Path.is_file, paths)):
            archive.write(path, path.relative_to(ROOT))


def device_name(device: torch.device) -> str:
    """Return the name of a device, of a CPU with its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU with {threads} thread{'s' * (threads > 1)}"


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a run.json; None if there is none, or if it is damaged, which is no reason not to go on."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        is_whole = {*SESSION, "earlier", "data"} <= facts.keys() and isinstance(facts["data"], dict)
        return facts if is_whole and isinstance(facts["earlier"], list) else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _private(text: str) -> str:
    """Return a text without what lets others in, and without the name of the user in paths."""
    return without_home(without_secrets(text))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str | None]:
    """Return the versions of what the numbers of a run depend on."""
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
    }


def _code() -> dict[str, Any]:
    """Return the version of this code: its commit, and whether files were changed since, if git can tell."""
    try:
        release: str | None = version("msg-gan")
    except PackageNotFoundError:
        release = None
    commit = _git("rev-parse", "HEAD")
    changed = None if commit is None else bool(_git("status", "--porcelain", "--untracked-files=no"))
    return {"version": release, "commit": commit, "changed": changed}


def _git(*arguments: str) -> str | None:
    """Return what git says of this code; None without git, or if the code is not a checkout of its own."""
    if not (ROOT / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_SECONDS).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
