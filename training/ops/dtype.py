"""Precision of sums and statistics."""

import torch


def with_range(x: torch.Tensor) -> torch.Tensor:
    """Convert fp16, whose range is too small for squares and for eps 1e-8, to float32; leave others as they are."""
    return x.float() if x.dtype == torch.float16 else x


def at_least_fp32(x: torch.Tensor) -> torch.Tensor:
    """Convert bf16 and fp16 to float32; leave float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
