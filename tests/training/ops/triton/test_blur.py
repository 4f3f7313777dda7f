import pytest
import torch

from tests.training.ops.triton.gradients import assert_equal_to_reference
from training.ops.resample import blur2d


@pytest.mark.parametrize(
    ("shape", "taps"),
    [((2, 6, 5, 7), (1, 2, 1)), ((1, 1, 3, 33), (1, 3)), ((1, 70, 2, 3), (1,)), ((1, 2, 3, 4), (1, 4, 6, 3, 1))],
)
def test_equals_the_reference(shape, taps):
    def operation(x, impl):
        return blur2d(x, taps, impl)

    assert_equal_to_reference(operation, torch.randn(shape))
