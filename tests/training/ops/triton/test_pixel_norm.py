import pytest
import torch

from tests.training.ops.triton.gradients import assert_equal_to_reference
from training.ops.epilogue import pixel_norm


@pytest.mark.parametrize("shape", [(2, 6, 5, 7), (1, 3, 3, 3), (2, 512, 2, 3)])
def test_equals_the_reference(shape):
    def operation(x, impl):
        return pixel_norm(x, impl=impl)

    assert_equal_to_reference(operation, torch.randn(shape))


def test_latents_and_other_axes_take_the_reference():
    x = torch.randn(4, 8)
    torch.testing.assert_close(pixel_norm(x, impl="triton"), pixel_norm(x, impl="ref"))
