"""The house: imports go one way, importing has no side effect."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "dnnlib": set(),
    "cluster": {"dnnlib"},
    "training": {"dnnlib"},
    "dataprep": {"dnnlib", "training.data", "training.spec"},
    "metrics": {"dnnlib", "training"},
    "pretrained": {"dnnlib", "training"},
    "generation": {"dnnlib", "training", "metrics", "pretrained"},
    "sharing": {"dnnlib", "training", "metrics", "pretrained", "generation"},
    "experiments": {"dnnlib", "training", "metrics", "pretrained", "generation", "sharing"},
}
# Packages of the extras are imported only where they are used, and so is the artwork of robohash.
EXTRAS = (
    *("datasets", "webdataset", "lmdb", "h5py", "scipy", "pyarrow", "av"),
    *("onnx", "gradio", "wandb", "submitit", "huggingface_hub", "robohash", "torchvision"),
    *("pillow_heif", "playwright"),
)
PACKAGES = set(MAY_IMPORT) | {p.stem for p in ROOT.glob("*.py")}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{a.name}" for a in node.names}
    return {name for name in names if name.split(".")[0] in PACKAGES}


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("package", [p for p in MAY_IMPORT if (ROOT / p).is_dir()])
def test_imports_go_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    allowed = {package, *MAY_IMPORT[package]}
    for path in files:
        upward = {name for name in imported(path) if not any(within(name, a) for a in allowed)}
        assert not upward, f"{path.relative_to(ROOT)} imports {upward}"


def test_config_imports_no_torch():
    code = "import sys, config, train; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_importing_has_no_side_effect():
    modules = sorted(
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in MAY_IMPORT
        for p in (ROOT / package).rglob("*.py")
    ) + [p.stem for p in ROOT.glob("*.py")]
    code = f"""
import os, sys, importlib, signal
before, handler = dict(os.environ), signal.getsignal(signal.SIGINT)
for m in {modules}: importlib.import_module(m)
import torch
assert dict(os.environ) == before
assert signal.getsignal(signal.SIGINT) is handler
assert not torch.cuda.is_initialized()
for m in {EXTRAS}:
    assert m not in sys.modules, m
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
