"""Making a CPU build of PyTorch believe in a GPU, before it is imported."""

import ctypes
import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

SOURCE = Path(__file__).with_name("shim.cpp")


def compiler() -> str | None:
    """Return a C++ compiler, or None if there is none."""
    return next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None)


def install() -> None:
    """Compile and load the shim. PyTorch must not be imported yet: it looks for a GPU once.

    This process must end with os._exit, because there is no driver to shut down.
    """
    found = importlib.util.find_spec("torch")
    assert found is not None and found.origin is not None
    root = Path(found.origin).parent
    includes = [f"-I{root / 'include' / part}" for part in ("", "torch/csrc/api/include")]

    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "shim.so"
        command = [compiler() or "c++", "-shared", "-fPIC", "-O1", "-std=c++17", "-w", str(SOURCE), *includes]
        subprocess.run([*command, "-o", str(library)], check=True)

        # The shim finds PyTorch's symbols among those that are loaded for all.
        for name in ("libc10.so", "libtorch_cpu.so"):
            ctypes.CDLL(str(root / "lib" / name), ctypes.RTLD_GLOBAL)
        shim = ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)

    import torch

    assert torch.__file__ == found.origin
    shim.install()
    torch.cuda.get_device_properties = lambda device=None: SimpleNamespace(name="a GPU on paper", major=9, minor=0)
