"""demo.py in a process of its own."""

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO

from tests.browser import free_port
from tests.runs import ENV, ROOT


@contextlib.contextmanager
def demo(*args: object) -> Iterator[str]:
    """Start demo.py, yield its address once it listens, and end it as Ctrl-C does."""
    port = free_port()
    command = [sys.executable, "demo.py", "--port", str(port), *map(str, args)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=ENV, stdout=out, stderr=errors, text=True)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for_line(process, out, f"{address} shows ")
            yield address
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
            process.wait()
            errors.seek(0)
            written = errors.read()
        assert written == "interrupted\n", written


def _wait_for_line(process: subprocess.Popen[str], out: IO[str], begin: str) -> None:
    """Wait until a process has printed a line that begins like this."""
    deadline = time.monotonic() + 120
    text = ""
    while not (text.startswith(begin) and text.endswith("\n")):
        assert process.poll() is None and time.monotonic() < deadline, text
        time.sleep(0.1)
        out.seek(0)
        text = out.read()
