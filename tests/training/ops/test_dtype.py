import pytest
import torch

from training.ops.dtype import at_least_fp32


@pytest.mark.parametrize(
    "dtype, expected",
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_statistics_are_taken_in_at_least_float32(dtype, expected):
    assert at_least_fp32(torch.ones(2, dtype=dtype)).dtype == expected
