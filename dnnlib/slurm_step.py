"""Processes that `srun` has started, described to torch.distributed as it expects it."""

import os
import re
from collections.abc import Mapping

PORTS = range(20000, 30000)  # of which a job takes one by its number


def torch_environment(slurm: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that torchrun would set for this process of a job step, from those of Slurm.

    Return nothing outside of `srun`, in a step of one process, and where another launcher has set them already.
    """
    is_step = int(slurm.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in slurm
    if not is_step or "WORLD_SIZE" in slurm:
        return {}

    tasks_per_node = expand_counts(slurm["SLURM_STEP_TASKS_PER_NODE"])
    number = 100 * int(slurm["SLURM_JOB_ID"]) + int(slurm.get("SLURM_STEP_ID", 0))
    return {
        "RANK": slurm["SLURM_PROCID"],
        "WORLD_SIZE": slurm["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": slurm["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(tasks_per_node[int(slurm["SLURM_NODEID"])]),
        "MASTER_ADDR": first_host(slurm["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": str(PORTS[number % len(PORTS)]),
    }


def adopt_step() -> None:
    """Let this process be one of the processes of its job step, if `srun` has started several."""
    os.environ.update(torch_environment(os.environ))


def first_host(nodes: str) -> str:
    """Return the first host of a list such as `gpu[007-010,12],login1`."""
    prefix, bracket, rest = nodes.partition("[")
    if not bracket or "," in prefix:
        return prefix.partition(",")[0]

    # After the brackets, a name may go on: rack[1-2]-node3.
    inside, _, after = rest.partition("]")
    number = re.split("[-,]", inside)[0]
    return prefix + number + after.partition(",")[0].partition("[")[0]


def expand_counts(text: str) -> list[int]:
    """Return the numbers of a list such as `4(x2),3`: [4, 4, 3]."""
    counts = []
    for part in text.split(","):
        number, _, times = part.partition("(x")
        counts += [int(number)] * int(times.rstrip(")") or 1)
    return counts
