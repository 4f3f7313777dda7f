"""Options, files, presets, losses and metrics that the documentation names exist, and none is missing from it."""

import contextlib
import io
import re
import runpy
import sys
from unittest import mock

import pytest

from config import ABLATIONS, PRESETS
from dataprep.command import COMMANDS as DATASET_COMMANDS
from generation.command import COMMANDS as GENERATE_COMMANDS
from sharing.export.command import COMMANDS as EXPORT_COMMANDS
from tests.runs import ROOT

DOCS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]

# Options of other programs that the pages mention.
OTHERS = {"--bind", "--transform", "--sha256", "--run_stylegan", "--constraint", "--shm-size", "--tag", "--nnodes",
          "--node-rank", "--nproc-per-node", "--master-addr", "--master-port", "--ntasks-per-node",
          "--gpus-per-node", "--require-hashes", "--delete"}  # fmt: skip


@pytest.fixture(scope="module")
def options():
    """Return every option that the help of a command lists."""
    commands = [("train.py", preset) for preset in ("robohash", "progan-robohash")]
    commands += [("dataset_tool.py", command) for command in DATASET_COMMANDS]
    commands += [("generate.py", command) for command in GENERATE_COMMANDS]
    commands += [("export.py", command) for command in EXPORT_COMMANDS]
    commands += [(name,) for name in ("run_metrics.py", "report.py", "demo.py", "submit.py", "tests/soak.py")]
    commands.append(("experiments/levels.py",))  # whose options all experiments have
    return set(re.findall(r"--[\w.-]+\w", " ".join(help_of(*command) for command in commands)))


def help_of(*command):
    """Return what a script prints with --help; within this process, since there are many."""
    with (
        mock.patch.object(sys, "argv", [*command, "--help"]),
        contextlib.redirect_stdout(io.StringIO()) as text,
        pytest.raises(SystemExit) as end,
    ):
        runpy.run_path(str(ROOT / command[0]), run_name="__main__")
    assert not end.value.code
    return text.getvalue()


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_options_exist(path, options):
    text = path.read_text(encoding="utf-8")

    # The left columns of these pages, and the last section of one, name the options of the originals.
    if path.name.startswith("from-"):
        text = re.sub(r"^\| `[^|]*\|", "", text, flags=re.M)
        text = text.partition("## What its options did not do")[0]

    # What is left must be an option of ours, or of a benchmark on a line that runs one.
    named = set(re.findall(r"(?<![\w-])--[A-Za-z][\w.-]*\w", text)) - OTHERS
    benchmarks = set(re.findall(r"--[\w-]+\w", " ".join(re.findall(r"python benchmarks.*", text))))
    assert not named - options - benchmarks


def test_every_option_of_bmsg_gan_is_mapped():
    rows = re.findall(r"^\| `--(\w+)` \|", (ROOT / "docs" / "from-bmsg-gan.md").read_text(encoding="utf-8"), flags=re.M)
    assert len(rows) == len(set(rows)) == 28  # of its train.py


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_links_and_files_exist(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / target).exists(), target

    for name in re.findall(r"`((?:training|pretrained|tests|benchmarks|docs|dnnlib)/[\w/]+\.\w+)`", text):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", ["docs/reliability.md", "SECURITY.md"])
def test_tests_that_prove_promises_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert named
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_presets_of_the_readme_exist():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("| preset |")[1].split("\n\n")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", section, flags=re.M)
    named = {name for cell in cells for name in re.findall(r"`([\w-]+)`", cell)}

    # The ablations of StyleGAN's tables are listed by the first and the last of them.
    assert named == set(PRESETS) - set(ABLATIONS) | {"auto", "tuned-baseline", "stylebased-8"}


def test_every_loss_has_a_line():
    from training.losses import LOSSES

    rows = re.findall(r"^\| `([\w-]+)` \|", (ROOT / "docs" / "losses.md").read_text(encoding="utf-8"), flags=re.M)
    assert set(rows) == set(LOSSES)


def test_every_metric_has_a_line():
    from metrics.catalog import METRICS

    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    named = {name for row in re.findall(r"^\| (`[^|]+) \|", text, flags=re.M) for name in re.findall(r"`(\w+)`", row)}
    assert {m.name for m in METRICS} <= named
