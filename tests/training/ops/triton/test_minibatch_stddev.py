import pytest
import torch

from tests.training.ops.triton.gradients import assert_equal_to_reference
from training.ops.minibatch_stddev import minibatch_stddev
from training.ops.opaque import tell_compiler


@pytest.mark.parametrize(
    ("shape", "group", "features"),
    [((8, 6, 5, 7), 4, 1), ((4, 4, 3, 5), 4, 2), ((6, 1, 9, 2), 3, 1), ((3, 8, 4, 4), None, 4), ((4, 65, 6, 6), 2, 1)],
)
def test_equals_the_reference(shape, group, features):
    def operation(x, impl):
        return minibatch_stddev(x, group, features, impl)

    assert_equal_to_reference(operation, torch.randn(shape) + 3)


def test_a_group_of_one_has_no_spread():
    x = torch.randn(1, 4, 4, 4, requires_grad=True)
    y = minibatch_stddev(x, 4, 1, "triton")
    torch.testing.assert_close(y, torch.full((1, 1), 1e-4))
    assert torch.autograd.grad(y.sum(), x)[0].abs().max() == 0


def test_any_memory_format_is_read():
    x = torch.randn(8, 4, 6, 5)
    for view in (x, x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3), torch.cat([x, 2 * x])[::2]):
        expected = minibatch_stddev(view, 4, 2, "ref")
        torch.testing.assert_close(minibatch_stddev(view, 4, 2, "triton"), expected)


def test_compiled_penalties_equal_the_reference():
    x, weight = torch.randn(2, 4, 3, 5, 2).unbind(0)
    weight.requires_grad_()

    def penalty(weight, impl):
        return torch.func.grad(lambda x: minibatch_stddev(x * weight, 4, 1, impl).pow(3).sum())(x).square().sum()

    tell_compiler()
    compiled = torch.compile(penalty, backend="aot_eager", fullgraph=True)
    [actual] = torch.autograd.grad(compiled(weight, "triton"), weight)
    [expected] = torch.autograd.grad(penalty(weight, "ref"), weight)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-7)
