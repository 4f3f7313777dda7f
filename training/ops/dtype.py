"""Precision of sums and statistics."""

import torch


def at_least_fp32(x: torch.Tensor) -> torch.Tensor:
    """Convert bf16 and fp16 to float32; leave float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
