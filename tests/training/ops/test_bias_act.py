import pytest
import torch

from training.ops.bias_act import activate, bias_act


@pytest.mark.parametrize("activation, slope", [("lrelu", 0.2), ("relu", 0.0), (None, 1.0)])
def test_by_hand_with_both_gradients(activation, slope):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    moved = x + bias[:, None, None]
    torch.testing.assert_close(activate(moved.clone(), activation), torch.where(moved > 0, moved, slope * moved))
    torch.testing.assert_close(bias_act(x, bias, activation), torch.where(moved > 0, moved, slope * moved))
    assert torch.autograd.gradcheck(lambda x, b: bias_act(x, b, activation), (x, bias))
    assert torch.autograd.gradgradcheck(lambda x, b: bias_act(x, b, activation).square(), (x, bias))


def test_the_dtype_of_the_input_stays():
    assert bias_act(torch.randn(2, 3, 1, 1).bfloat16(), torch.randn(3), "lrelu").dtype == torch.bfloat16
