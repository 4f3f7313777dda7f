"""Two network namespaces stand for two machines, between which torchrun trains one network."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import ENV, ROOT, assert_same_run, make_dataset, run_dirs, train

OPTIONS = ["tiny", "--resolution", 16, "--batch", 8, "--micro-batch", 4, "--total-kimg", 0.128, "--tick-kimg", 0.064,
           "--gpus", 2]  # fmt: skip
ADDRESSES = ("10.123.45.1", "10.123.45.2")


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True)


@pytest.fixture
def nodes():
    """The names of two network namespaces that see each other and nothing else."""
    names = ("msggan-a", "msggan-b")
    for name in names:
        ip("netns", "delete", name)  # left by a test that was killed
    if not sys.platform.startswith("linux") or any(ip("netns", "add", name).returncode for name in names):
        pytest.skip("network namespaces need root and iproute2 on Linux")

    ip("link", "add", "eth-a", "netns", names[0], "type", "veth", "peer", "name", "eth-b", "netns", names[1])
    for name, device, address in zip(names, ("eth-a", "eth-b"), ADDRESSES, strict=True):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
        for link in (device, "lo"):
            assert ip("-n", name, "link", "set", link, "up").returncode == 0
    yield names
    for name in names:
        ip("netns", "delete", name)


def test_two_machines_train_what_one_does(nodes, tmp_path):
    data = make_dataset(tmp_path / "blobs")
    processes = []
    for i, node in enumerate(nodes):
        torchrun = [str(Path(sys.executable).parent / "torchrun"), "--nnodes=2", f"--node-rank={i}"]
        torchrun += ["--nproc-per-node=1", f"--master-addr={ADDRESSES[0]}", "--master-port=29500"]
        script = ["train.py", *map(str, OPTIONS), "--data", str(data), "--result-dir", str(tmp_path / "nodes")]
        env = {**ENV, "GLOO_SOCKET_IFNAME": ("eth-a", "eth-b")[i]}
        # With two cores, the process would take two threads, which round sums in another way.
        command = ["ip", "netns", "exec", node, "taskset", "--cpu-list", "0", *torchrun, *script]
        processes.append(
            subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs

    # One of the two has written, and what it wrote is what two processes of one machine write.
    train(*OPTIONS, "--data", data, "--result-dir", tmp_path / "one")
    [spread], [single] = run_dirs(tmp_path / "nodes"), run_dirs(tmp_path / "one")
    assert_same_run(single, spread)
    assert "finished" in outputs[0] and "finished" not in outputs[1]
