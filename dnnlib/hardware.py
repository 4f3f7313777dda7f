"""What the hardware has and does fast."""

from pathlib import Path
from typing import Literal

import psutil
import torch

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def free_memory() -> int:
    """Return the bytes of main memory that programs can still take without swapping, at most a container's limit."""
    free: int = psutil.virtual_memory().available

    # The file holds "max" if there is no limit.
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else ""
    return min(free, int(limit)) if limit.isdigit() else free


def fast_precision(device: torch.device) -> Literal["bf16", "fp16", "fp32"]:
    """Return the precision in which a device computes convolutions fastest.

    That is bf16 on GPUs of compute capability 8 or higher and on CPUs with AVX-512 or AMX bf16, fp16 on GPUs of
    compute capability 7, whose tensor cores have no bf16, and fp32 elsewhere.
    """
    if device.type == "cuda":
        generation, _ = torch.cuda.get_device_capability(device)
        return "bf16" if generation >= 8 else "fp16" if generation == 7 else "fp32"

    # Other CPUs emulate bf16, which is slower than fp32.
    cpu = torch.cpu.get_capabilities()
    return "bf16" if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else "fp32"
