"""Keep twenty results in a run dir, as one of several processes: `keep_results.py RUN_DIR NAME`."""

import sys
from pathlib import Path

from metrics.result_files import keep
from metrics.results import Result


def result(metric, snapshot, kimg, value, facts):
    return Result(
        metric=metric, version=1, snapshot=snapshot, kimg=kimg, value=value, values={}, facts=facts, seconds=1.0
    )


if __name__ == "__main__":
    for k in range(20):
        keep(Path(sys.argv[1]), result("swd", f"{sys.argv[2]}-{k}", k, 1.0, {}))
