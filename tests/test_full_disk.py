"""Every command on a disk that fills up, a small tmpfs: one line of error, and nothing that was whole is lost."""

import shutil
import subprocess
import sys

import pytest
import torch

from dnnlib.errors import UserError
from dnnlib.files import PARTIAL
from dnnlib.stats import RunLog
from metrics.result_files import ResultFiles
from metrics.results import Result
from tests.runs import SMALL, assert_same_run, make_dataset, run_dirs, script, train

OPTIONS = [*SMALL, "--total-kimg", 0.128, "--save-code", "--weight-histograms", "--heartbeat"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """(dataset, run dir of a run with room, bytes that it takes)."""
    folder = tmp_path_factory.mktemp("reference")
    data = make_dataset(folder / "blobs")
    train(*OPTIONS, "--data", data, "--result-dir", folder / "results")
    [run] = run_dirs(folder / "results")
    return data, run, sum(path.stat().st_size for path in run.rglob("*") if path.is_file())


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of its own, and a function that sets the disk's size in bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root on Linux")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)

    yield folder, resize
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Leave no byte free."""
    with (folder / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def errors(out):
    assert "Traceback" not in out.stderr, out.stderr
    return [line for line in out.stderr.splitlines() if line.startswith("error:")]


@pytest.mark.parametrize("share", [0.0, 0.38, 0.62, 0.9])
def test_a_run_can_be_continued_once_there_is_room(reference, disk, share):
    data, whole, size = reference
    folder, resize = disk
    resize(max(4096, int(share * size)))
    args = [*OPTIONS, "--data", data, "--result-dir", folder / "results", "--resume", "auto"]
    out = train(*args, check=False)
    assert out.returncode == 2
    [error] = errors(out)
    assert str(folder / "results") in error and "no space left on the device" in error

    resize("64m")
    train(*args)
    [run] = run_dirs(folder / "results")
    assert_same_run(whole, run)
    assert not list(run.rglob(f"*{PARTIAL}"))


def test_files_that_grow(disk):
    folder, _ = disk
    log = RunLog(folder, -1, ["prometheus"])
    said: list[str] = []
    files = ResultFiles(folder, None, said.append)
    log.write({"kimg": 1})
    fill(folder)

    result = Result(metric="m", version=1, snapshot="s", kimg=1, value=1, values={"m": 1}, facts={}, seconds=1)
    long = "x" * 100000
    for file, write in (
        ("stats.jsonl", lambda: log.write({"kimg": 2, "text": long})),
        ("events.out.tfevents", lambda: log.histograms({"G": torch.nn.Linear(100, 100)}, 2)),
        ("log.txt", lambda: log.line(long)),
    ):
        with pytest.raises(UserError, match=f"{file}.*: cannot write: no space left on the device"):
            write()
    log.close()

    # Results that were measured are printed, whether they can be kept or not.
    files.keep(result)
    [warning] = said
    assert "the result is not kept there" in warning and "no space left" in warning


@pytest.mark.parametrize(
    "command",
    [
        ["dataset_tool.py", "create_from_images", "OUT", "IMAGES"],
        ["generate.py", "images", "--network", "NETWORK", "--outdir", "OUT", "--seeds", "0-3"],
        ["report.py", "RUN", "--output", "OUT.html"],
        ["export.py", "safetensors", "--network", "NETWORK", "--output", "OUT.safetensors"],
    ],
    ids=lambda command: command[0],
)
def test_other_commands(reference, disk, command, tmp_path):
    _, run, _ = reference
    folder, _ = disk
    fill(folder)
    images = tmp_path / "images"
    shutil.copytree(run / "16x16", images)
    places = {
        "OUT": folder / "out",
        "OUT.html": folder / "out.html",
        "OUT.safetensors": folder / "out.safetensors",
        "IMAGES": images,
        "NETWORK": max(run.glob("*.safetensors")),
        "RUN": run,
    }
    out = script(*(places.get(word, word) for word in command), check=False)
    assert out.returncode == 2
    [error] = errors(out)
    assert str(folder) in error and "no space left" in error
    assert [path for path in folder.rglob("*") if path.is_file()] == [folder / "ballast"]
