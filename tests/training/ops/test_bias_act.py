import pytest
import torch

from training.ops.bias_act import bias_act


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("activation, slope", [("lrelu", 0.2), ("relu", 0.0), (None, 1.0)])
def test_by_hand_with_both_gradients(shape, activation, slope):
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    moved = x + bias.reshape(3, *[1] * (len(shape) - 2))
    torch.testing.assert_close(bias_act(x, bias, activation), torch.where(moved > 0, moved, slope * moved))
    assert torch.autograd.gradcheck(lambda x, b: bias_act(x, b, activation), (x, bias))
    assert torch.autograd.gradgradcheck(lambda x, b: bias_act(x, b, activation).square(), (x, bias))


def test_the_dtype_of_the_input_stays():
    assert bias_act(torch.randn(2, 3).bfloat16(), torch.randn(3), "lrelu").dtype == torch.bfloat16
