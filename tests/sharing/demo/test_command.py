"""The command line of demo.py."""

import socket
import urllib.request

import pytest

from tests.browser import free_port
from tests.golden_data import GOLDEN
from tests.runs import python
from tests.sharing.demo.served import demo
from tests.sharing.report.written_runs import write_run


def refused(*args):
    free = [] if "--port" in args or "--host" in args else ["--port", str(free_port())]
    out = python("demo.py", *free, *args)
    assert out.returncode == 2 and not out.stdout, out
    assert out.stderr.startswith("error: ") and out.stderr.count("\n") == 1, out.stderr
    return out.stderr


def test_a_port_that_is_in_use_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: Address already in use, expected another" in refused("--port", port)


@pytest.mark.parametrize(
    "args, message",
    [
        (["--port", "70000"], "--port 70000: expected 1 to 65535"),
        (["--host", "192.0.2.1"], "--host 192.0.2.1 --port 7860: "),
        (["--share-password", ""], "--share-password: empty"),
        (["--network", "nothing.pkl"], "nothing.pkl: no such file"),
        (["--run", "nothing"], "--run nothing: expected a run dir of train.py"),
        (["--directions", "pyproject.toml"], "expected a file that `generate.py directions` wrote"),
    ],
)
def test_what_cannot_be_served_is_one_line(args, message):
    assert message in refused(*args)


def test_a_run_without_a_network_is_shown_with_another_one(tmp_path):
    run_dir = write_run(tmp_path / "run")
    assert f"{run_dir}: no snapshot yet, wait for the first one, or add --network" in refused("--run", run_dir)
    network = GOLDEN / "c2_network-final.pkl"
    with demo("--run", run_dir, "--network", network) as address:
        assert b"gradio" in urllib.request.urlopen(address).read()
