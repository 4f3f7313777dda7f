"""Programs that use a local server in place of the Hugging Face Hub."""

import os
import subprocess
from pathlib import Path

from tests.hub_server import TOKEN, Hub
from tests.runs import ENV, ROOT


def run_as(
    hub: Hub, home: Path, *command: object, token: str = TOKEN, cwd: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command with a token and a cache of its own."""
    own = {key: value for key, value in ENV.items() if not key.startswith(("HF_", "HUGGING"))}
    # The Hub's newer storage, Xet, is a service of its own; without it, files go through Git LFS.
    own |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hf"), "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}
    own |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([*map(str, command)], cwd=cwd, env=own | more, capture_output=True, text=True, timeout=200)
