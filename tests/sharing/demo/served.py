"""demo.py in a process of its own."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator

from tests.browser import free_port
from tests.runs import ENV, ROOT


@contextlib.contextmanager
def demo(*args: object) -> Iterator[str]:
    """Start demo.py, yield its address once it listens, and end it as Ctrl-C does."""
    port = free_port()
    command = [sys.executable, "demo.py", "--port", str(port), *map(str, args)]
    process = subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith(f"http://127.0.0.1:{port} shows "), line + process.stderr.read()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors == "interrupted\n"
