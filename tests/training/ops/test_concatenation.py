import torch

from training.ops.concatenation import concatenate
from training.ops.opaque import tell_compiler


def operands(dtype=torch.float64):
    shapes = ((2, 3, 4, 5), (2, 1, 4, 5))
    return [torch.randn(s, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_() for s in shapes]


def test_values_and_gradients_are_those_of_cat():
    x, y = operands()
    assert torch.equal(concatenate(x, y), torch.cat([x, y], 1))
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda x, y: concatenate(x, y).pow(3), (x, y))


def penalty(x, y, join):
    """The squared norm of a gradient, as R1 takes it."""
    return torch.func.grad(lambda x: join(x, y).pow(3).sum())(x).square().sum()


def test_penalties_keep_the_memory_format_and_compile():
    x, y = operands()
    expected = torch.autograd.grad(penalty(x, y, lambda x, y: torch.cat([x, y], 1)), x)
    tell_compiler()
    for run in (penalty, torch.compile(penalty, backend="aot_eager", fullgraph=True)):
        [dx] = torch.autograd.grad(run(x, y, concatenate), x)
        torch.testing.assert_close(dx, expected[0])
        assert dx.is_contiguous(memory_format=torch.channels_last)
