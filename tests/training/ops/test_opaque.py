"""The compiler hears of our operations on demand only: importing it takes long."""

import os
import subprocess
import sys

import torch

from tests.runs import ENV, ROOT
from training.ops.opaque import opaque, tell_compiler


def test_networks_do_not_import_the_compiler():
    code = "import sys, training.state; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENV, check=False).returncode == 0


def test_marked_functions_are_not_looked_into():
    @opaque
    def double(x):
        open(os.devnull).close()  # which the compiler cannot trace
        return torch.mul(x, 2)

    tell_compiler()
    compiled = torch.compile(lambda x: double(x) + 1, backend="aot_eager", fullgraph=True)
    assert compiled(torch.ones(2)).tolist() == [3, 3]
