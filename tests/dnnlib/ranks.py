"""Calls everything in `dnnlib.distributed` in processes of one run: `python -m tests.dnnlib.ranks PROCESSES FOLDER`.

Each process writes its results to FOLDER/RANK.json.
"""

import json
import sys
from pathlib import Path

import torch

from dnnlib import distributed
from dnnlib.errors import UserError
from dnnlib.launch import launch
from dnnlib.stop_request import StopRequest


def failing(kind: type[Exception]) -> str:
    """How `together` ends on this process when the last one fails."""

    def function() -> int:
        if distributed.rank() == distributed.world_size() - 1:
            raise kind("only the last process knows")
        return 1

    try:
        return str(distributed.together(function))
    except UserError as e:
        return str(e)


def work(folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init(distributed.pick_device("cpu"))
    rank, calls = distributed.rank(), []

    total = torch.tensor([1.0, 10.0]) * (rank + 1)
    distributed.all_reduce_sum(total)

    def cached() -> str:
        path = Path(folder) / "cache"
        if not path.exists():
            path.write_text(f"of rank {rank}")
        return path.read_text()

    # What the main process made stays the same object there, since it may hold an open file.
    mine = [rank]
    kept = [distributed.broadcast_object(mine) is mine, distributed.on_main(lambda: mine) is mine]

    # A request to one process reaches all of them at the same time, the next time that they ask or the one after.
    stop = StopRequest()
    before = [stop(), stop()]
    stop.asked = rank == 1
    answers = [stop() for _ in range(3)]
    stop.restore()

    results = {
        "stop": [before, answers],
        "main_flag": [distributed.main_flag(rank == 0), distributed.main_flag(rank == 1)],
        "kept": kept,
        "ranks": [rank, distributed.local_rank(), distributed.world_size(), distributed.is_main()],
        "sum": total.tolist(),
        "gather": distributed.gather(torch.tensor([[rank, 7]])).tolist(),
        "any": [distributed.any_rank(flag) for flag in (False, rank == 1, rank == 0, True)],
        "objects": distributed.gather_objects({"rank": rank}),
        "broadcast": distributed.broadcast_object(f"from {rank}"),
        "on_main": distributed.on_main(lambda: f"of {rank}"),
        "main_first": distributed.main_first(cached),
        "together": distributed.together(lambda: rank),
        "errors": [failing(UserError), failing(RuntimeError)],
        "striped": list(distributed.striped(5, lambda i: calls.append(i) or i * i)),
        "rounds": list(distributed.striped(3, lambda i: i, before_round=lambda: calls.append("round"))),
        "calls": calls,
    }
    distributed.barrier()
    distributed.shutdown()
    (Path(folder) / f"{rank}.json").write_text(json.dumps(results))


if __name__ == "__main__":
    sys.exit(launch(work, sys.argv[2], int(sys.argv[1])))
