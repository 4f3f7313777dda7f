"""docs/sharing.md: the blocks of the page run as they stand."""

import re
import shlex
import shutil
import sys

import pytest

from tests.golden_data import GOLDEN
from tests.hub_server import serve_hub
from tests.hub_users import run_as
from tests.runs import ROOT, make_dataset, run_dirs, train

PAGE = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8")
BLOCKS = [
    (section.split("\n")[0], re.findall(r"^```(\w*)\n(.*?)^```", section, flags=re.M | re.S))
    for section in PAGE.split("\n## ")[1:]
]
# What installs, asks for a person, or serves until Ctrl-C; test_page.py and test_onnx.py use the servers.
NOT_HERE = ("pip ", "hf auth", "python demo.py", "cd ", "python -m http.server")


@pytest.fixture
def folder(tmp_path):
    """A working folder with what the page names."""
    for name in ("export.py", "generate.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "examples" / "onnx").mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "onnx" / "sample.py", tmp_path)
    shutil.copy(GOLDEN / "bmsg_gan" / "depth4_latent16" / "GAN_GEN_SHADOW_1.pth", tmp_path / "GAN_GEN_SHADOW_5.pth")
    return tmp_path


def test_every_section_has_a_block():
    assert len(BLOCKS) == 6 and all(blocks for _, blocks in BLOCKS)


@pytest.mark.parametrize(("section", "blocks"), BLOCKS[1:], ids=[section for section, _ in BLOCKS[1:]])
def test_blocks(folder, section, blocks):
    if "--network 7" in str(blocks):
        dataset = make_dataset(folder / "blobs")
        train("tiny", "--data", dataset, "--resolution", 16, "--batch", 8, "--total-kimg", 0.016, "--tick-kimg", 0.016,
              "--result-dir", folder / "results")  # fmt: skip
        [run] = run_dirs(folder / "results")
        run.rename(run.with_name("00007-msg-stylegan-blobs-1gpu"))

    with serve_hub() as hub:
        for kind, block in blocks:
            if kind == "python":
                lines = [["-c", block]]
            else:
                commands = [line for line in block.splitlines() if line and not line.startswith(NOT_HERE)]
                # The hub's `user` is the one whose token is given.
                lines = [shlex.split(line.replace("user/", "me/"), comments=True)[1:] for line in commands]
            for line in lines:
                if line[0] == "sample.py":
                    shutil.copy(folder / "examples" / "onnx" / "G.onnx", folder)
                out = run_as(hub, folder, sys.executable, *line, cwd=folder)
                assert out.returncode == 0, out.stderr
