"""Starts two processes of which the second one ends as asked: `python -m tests.dnnlib.workers END FOLDER`.

END is user, bug, exit, kill or sleep. Processes leave a file FOLDER/RANK, and say in it how a signal ended them.
"""

import os
import signal
import sys
import time
from pathlib import Path

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.launch import launch


def work(argument: tuple[str, str]) -> None:
    end, folder = argument
    rank = os.environ["RANK"]
    path = Path(folder) / rank
    path.write_text("started")
    if rank == "1":
        if end == "user":
            raise UserError("only rank 1 knows")
        if end == "bug":
            raise RuntimeError("a bug")
        if end == "exit":
            sys.exit(7)
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        path.write_text("interrupted")
        raise


if __name__ == "__main__":
    cli.run(lambda: launch(work, (sys.argv[1], sys.argv[2]), 2))
