"""A Python that has imported what every command imports, and becomes a command in a moment: most of the time of a test
that runs one would otherwise be spent on importing PyTorch.

As a program, it reads requests from stdin and answers each with a process of its own, a fork of this one, whose files,
arguments, environment and exit are its own. What Python and libraries read from the environment when they are imported,
such as PYTHONHASHSEED and OMP_NUM_THREADS, is that of the first request.
"""

import atexit
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).parent.parent

# What commands import, with all that this imports; and what PyTorch imports when it is first used. No thread starts.
WARM = ("generation.networks", "metrics.command", "training.run.entry", "torch._dynamo",
        "torch.distributed.launcher.api", "torch.fx.experimental.symbolic_shapes")  # fmt: skip


class WarmPython:
    """The client of the program. It starts it when it is first needed, and ends it with this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.server: subprocess.Popen[str] | None = None

    def run(self, args: list[str], env: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a script, or `-m` and a module, with its arguments to its end, as `subprocess.run` does."""
        with self.lock, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            server = self._server(env)
            paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
            server.stdin.write(json.dumps({"args": args, "env": env, "paths": paths}) + "\n")
            server.stdin.flush()

            pid = int(server.stdout.readline())
            late = threading.Timer(timeout, lambda: os.kill(pid, signal.SIGKILL))
            late.start()
            status = int(server.stdout.readline())
            is_late = not late.is_alive()
            late.cancel()

            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read())
            if is_late:
                raise subprocess.TimeoutExpired(args, timeout, *texts)
            return subprocess.CompletedProcess(args, status, *texts)

    def _server(self, env: dict[str, str]) -> subprocess.Popen[str]:
        """Return the program, running."""
        if self.server is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            command = [sys.executable, "-m", "tests.warm_python"]
            self.server = subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes)
            atexit.register(self.server.kill)
        return self.server


def serve() -> dict:
    """Answer requests; return, in a fork, the request that it is to answer."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            return json.loads(line)
        print(pid, file=answers, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
    sys.exit()


def become(request: dict) -> None:
    """Run the script of a request in this process."""
    os.environ.clear()
    os.environ.update(request["env"])
    files = [os.open(os.devnull, os.O_RDONLY), *(os.open(path, os.O_WRONLY | os.O_APPEND) for path in request["paths"])]
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.closerange(3, 1024)

    args = request["args"]
    if args[0] == "-m":
        sys.argv = args[1:]
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = args
        sys.path[0] = str(Path(args[0]).resolve().parent)
        runpy.run_path(args[0], run_name="__main__")


if __name__ == "__main__":
    for module in WARM:
        importlib.import_module(module)
    become(serve())
