"""All metrics in one, two and three processes."""

import subprocess
import sys

import pytest

from tests.runs import ENV, ROOT
from training.networks.architectures import build_generator
from training.networks.config import GeneratorConfig
from training.run.snapshot import save_snapshot


def test_one_two_and_three_processes_agree(dataset, tmp_path):
    networks = []
    for name in ("network", "before"):
        G = build_generator(GeneratorConfig(fmap_base=64, fmap_max=16), dataset.spec)
        networks.append(tmp_path / f"{name}.safetensors")
        save_snapshot(networks[-1], {"G_ema": G}, dataset.spec, 0)
    found = []
    for n in (1, 2, 3):
        command = [sys.executable, ROOT / "tests" / "metrics" / "ranks.py", n, dataset.path, *networks]
        env = {**ENV, "PYTHONPATH": str(ROOT)}
        out = subprocess.run([*map(str, command)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)
        assert out.returncode == 0, out.stderr
        found.append({line.split()[0]: [float(v) for v in line.split()[1:]] for line in out.stdout.splitlines()})
    assert len(found[0]) == 11
    for name, values in found[0].items():
        for other in found[1:]:
            assert other[name] == pytest.approx(values, rel=1e-9, abs=1e-12), name
