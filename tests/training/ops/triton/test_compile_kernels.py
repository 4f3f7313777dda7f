"""What Triton makes of the kernels for real GPUs; it needs none for that."""

import json
import subprocess
import sys

import pytest

from tests.runs import ENV, ROOT


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Return what the assembler says about each kernel, from a process in which Triton compiles."""
    environment = {**ENV, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))}
    command = [sys.executable, "-m", "tests.training.ops.triton.compile_kernels"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_kernel_compiles_without_spills(compiled):
    assert {row["gpu"] for row in compiled} == {"A100", "H100"}
    assert not [row for row in compiled if row["spilled bytes"]]

    # Four programs of 128 threads fit into the 65,536 registers of a multiprocessor.
    assert not [row for row in compiled if row["registers"] > 128]


def test_maps_are_read_by_128_bits(compiled):
    # The moments come from sums, and from one pixel of each map.
    assert {row["kernel"] for row in compiled if not row["reads 128 bits"]} == {
        "epilogue moments",
        "epilogue moments of one program",
    }
