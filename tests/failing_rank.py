"""Two processes of which the second fails: `python -m tests.failing_rank user|bug`."""

import os
import sys
import time

from dnnlib import cli, launch
from dnnlib.errors import UserError


def fail_on_rank_1(kind: str) -> None:
    """Raise a UserError or, for `bug`, any other error on one process, while the other one is busy."""
    if os.environ["RANK"] == "1":
        raise UserError("only rank 1 knows") if kind == "user" else RuntimeError("a bug")
    time.sleep(60)


if __name__ == "__main__":
    from tests.failing_rank import fail_on_rank_1 as function  # under a name that the workers can import

    cli.run(lambda: launch.launch(function, sys.argv[1], 2))
