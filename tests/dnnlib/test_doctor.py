"""What the doctor says of a healthy machine, and of machines that lack something."""

import errno
import shutil
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace

import pytest
import torch

from dnnlib import doctor
from tests.runs import ENV, ROOT


def examine(*args, **env):
    """Run the doctor in a process of its own."""
    command = [sys.executable, "-m", "dnnlib.doctor", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, env=ENV | env, capture_output=True, text=True, timeout=400)


def findings(check, *args):
    """Return the findings of a check, those with a name by it."""
    return {finding.name: finding for finding in check(*args)}


def test_this_machine_can_train(tmp_path):
    result = examine("--result-dir", tmp_path / "runs" / "of" / "today")
    assert (result.returncode, result.stderr) == (0, "")
    assert "PROBLEM" not in result.stdout and result.stdout.endswith("\nNo problems.\n")

    said = {line[:14].strip(): line[15:] for line in result.stdout.splitlines()}
    assert f"torch {torch.__version__.partition('+')[0]}" in said["packages"]
    assert said["extras"] == "datasets, export, demo, hub, trackers"
    assert "for cloud: pip install '.[cloud]' adds gcsfs" in result.stdout
    assert "relative error" in said["fp32"] and "times as fast as fp32, relative error" in said["bf16"]
    assert str(tmp_path) in said["disk"] and said["write speed"].endswith("MB/s")
    assert said["processes"] == "can be started" and said["torch.compile"].startswith("works")

    # Nothing stays of what was written to measure the speed.
    assert not list(tmp_path.iterdir())


def test_a_precision_that_computes_wrongly_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "LARGEST_ERROR", 1e-4)
    found = findings(doctor.check_precisions)
    assert not found["fp32"].advice and found["bf16"].advice == "do not train with --precision bf16"


def test_without_a_compiler_it_says_what_to_install(tmp_path):
    result = examine("--result-dir", tmp_path, CXX=str(tmp_path / "none"), TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    assert result.returncode == 1
    _, _, end = result.stdout.partition("torch.compile")
    assert "InvalidCxxCompiler" in end
    assert "PROBLEM: install a C++ compiler such as g++ or train without --compile\n1 problem.\n" in end


def test_missing_and_old_packages(monkeypatch):
    def found(name):
        if name in ("gradio", "onnx"):
            raise PackageNotFoundError
        return "2.1" if name == "torch" else version(name)

    monkeypatch.setattr(doctor, "version", found)
    lines = list(doctor.check_packages())
    assert any(finding.text.startswith("needs torch>=") and "pip install ." in finding.advice for finding in lines)
    assert any(finding.text == "datasets, hub, trackers" for finding in lines)

    # Extras are nobody's problem.
    hints = [finding for finding in lines if "adds" in finding.text]
    assert [finding.text.split(":")[0] for finding in hints] == ["for export", "for demo", "for cloud"]
    assert not any(finding.advice for finding in hints)


def test_a_driver_without_a_torch_for_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "torch is built without CUDA" in findings(doctor.check_devices)["GPU"].advice


def test_gpus_are_listed(monkeypatch):
    gpu = SimpleNamespace(name="NVIDIA H100", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert findings(doctor.check_devices)["GPU 0"].text == "NVIDIA H100, 80 GiB, precision bf16"


@pytest.mark.parametrize("free", [2**10, 2**40])
def test_room(tmp_path, monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free, total=2**41))
    monkeypatch.setattr(doctor, "free_memory", lambda: free)
    scarce = free < 2**20
    assert bool(findings(doctor.check_disk, tmp_path)["disk"].advice) == scarce
    for finding in doctor.check_memory():
        assert bool(finding.advice) == scarce, finding


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    finding = findings(doctor.check_disk, tmp_path)["write speed"]
    assert "Read-only file system" in finding.text and str(tmp_path) in finding.advice


def test_weights_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("MSG_GAN_DETECTORS", str(tmp_path / "none"))
    assert findings(doctor.check_weights)["weights"].text.startswith("none")
    (tmp_path / "vgg16-397923af.pth").touch()
    (tmp_path / "notes.txt").touch()
    monkeypatch.setenv("MSG_GAN_DETECTORS", str(tmp_path))
    assert findings(doctor.check_weights)["weights"].text == str(tmp_path / "vgg16-397923af.pth")


def test_no_processes_and_no_loopback(monkeypatch):
    def refuse(*_):
        raise OSError("not permitted")

    monkeypatch.setattr(socket, "create_server", refuse)
    monkeypatch.setattr(doctor.multiprocessing.get_context("spawn").Process, "start", refuse)
    found = findings(doctor.check_processes)
    assert "--gpus 1" in found["processes"].advice and "127.0.0.1" in found["loopback"].advice
