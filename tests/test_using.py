"""docs/using.md: every command and every snippet on the page runs as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from tests.generation.commands import generate
from tests.runs import ROOT, make_dataset, run_dirs, train

PAGE = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, flags=re.M | re.S)
COMMANDS = [
    shlex.split(line, comments=True)[2:] for kind, block in BLOCKS if not kind for line in block.splitlines() if line
]
SNIPPETS = [block for kind, block in BLOCKS if kind == "python"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The run and the dataset that the page names."""
    folder = tmp_path_factory.mktemp("using")
    dataset = make_dataset(folder / "datasets" / "faces")
    train("tiny", "--data", dataset, "--resolution", 16, "--batch", 8, "--total-kimg", 0.032, "--tick-kimg", 0.016,
          "--result-dir", folder / "results")  # fmt: skip
    [run] = run_dirs(folder / "results")
    run.rename(run.with_name("00007-msg-stylegan-faces-1gpu"))
    return folder


@pytest.fixture
def folder(shared, tmp_path, monkeypatch):
    """A working folder of its own for each test, which may run in any order."""
    for path in shared.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(arguments, *options):
    return [arguments[i + 1] for i, word in enumerate(arguments) if word in options]


def run(arguments):
    """Run a command of the page, after those that write what it reads."""
    earlier = COMMANDS[: COMMANDS.index(arguments)]
    for word in arguments:
        place = word.partition("/")[0]
        writers = [command for command in earlier if place in values(command, "--output", "--outdir", "--save")]
        if writers and not Path(word).exists() and word not in values(arguments, "--output", "--outdir", "--save"):
            run(writers[-1])
    generate(*arguments)


def test_there_are_examples_of_every_command():
    from generation.command import COMMANDS as NAMES

    assert {command[0] for command in COMMANDS} == set(NAMES) and len(SNIPPETS) == 2


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands(folder, arguments):
    run(arguments)

    # What the command names is there, or what it says is its default.
    named = [Path(name) for name in values(arguments, "--output", "--outdir")]
    defaults = {"images": "out", "interpolate": "walk.mp4", "figures": "figures"}
    output = named[0] if named else Path(defaults[arguments[0]])
    assert list(output.iterdir()) if output.is_dir() else output.stat().st_size > 100


def test_snippets(folder):
    """One after the other, since the second goes on where the first ends."""
    names: dict[str, object] = {}
    for snippet in SNIPPETS:
        exec(compile(snippet, "docs/using.md", "exec"), names)
    assert {"large.png", "twelve.png", "line.mp4"} <= {path.name for path in folder.iterdir()}
