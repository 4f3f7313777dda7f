import numpy as np
import pytest
import torch

from training.ops.minibatch_stddev import conv2d_with_constants, minibatch_stddev
from training.ops.opaque import tell_compiler


@pytest.mark.parametrize(("n", "group", "features"), [(8, 4, 1), (4, 4, 2), (6, 3, 1), (2, 4, 1), (1, 4, 1)])
def test_against_loops(n, group, features):
    x = torch.randn(n, 4, 3, 2, dtype=torch.float64)
    out = minibatch_stddev(x, group, features).numpy()
    groups = n // min(group, n)
    for i in range(n):
        members = x.numpy()[i % groups :: groups]  # interleaved
        std = np.sqrt(members.var(0) + 1e-8)
        for f, chunk in enumerate(np.split(std, features)):
            np.testing.assert_allclose(out[i, f], chunk.mean(), rtol=1e-12)


@pytest.mark.parametrize(("n", "group", "features"), [(4, 2, 1), (6, 3, 2), (2, 4, 1), (1, 4, 2), (3, None, 1)])
def test_first_and_second_gradients(n, group, features):
    x = torch.randn(n, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: minibatch_stddev(x, group, features), (x,))
    assert torch.autograd.gradgradcheck(lambda x: minibatch_stddev(x, group, features), (x,))


def by_autograd(x):
    """Return the spread of one group of all samples, with the derivatives of autograd."""
    return (x.var(0, correction=0) + 1e-8).sqrt().mean().expand(len(x), 1)


@pytest.mark.parametrize("compiled", [False, True])
def test_penalties_are_those_of_autograd(compiled):
    x, weight = torch.randn(2, 4, 3, 5, 2, dtype=torch.float64).unbind(0)
    weight.requires_grad_()

    def penalty(weight, stddev):
        """The squared norm of a gradient, as R1 takes it."""
        return torch.func.grad(lambda x: stddev(x * weight).pow(3).sum())(x).square().sum()

    def ours(weight):
        return penalty(weight, lambda x: minibatch_stddev(x, 4, 1))

    if compiled:
        tell_compiler()
        ours = torch.compile(ours, backend="aot_eager", fullgraph=True)
    [expected] = torch.autograd.grad(penalty(weight, by_autograd), weight)
    torch.testing.assert_close(torch.autograd.grad(ours(weight), weight)[0], expected)


def test_sums_of_bf16_are_taken_in_float32():
    x = torch.randn(8, 4, 16, 16).bfloat16().requires_grad_()
    y = minibatch_stddev(x, 4, 1)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, minibatch_stddev(x.float(), 4, 1))
    [dx] = torch.autograd.grad(y.sum(), x)
    assert dx.dtype == torch.bfloat16


def test_indivisible_batch_is_refused():
    with pytest.raises(ValueError, match="found 5 images"):
        minibatch_stddev(torch.zeros(5, 1, 4, 4), 4, 1)


@pytest.mark.parametrize("features", [1, 2])
def test_constants_equal_concatenated_maps(features):
    x, w = torch.randn(3, 4, 5, 6, dtype=torch.float64), torch.randn(2, 4 + features, 3, 3, dtype=torch.float64)
    constants = torch.randn(3, features, dtype=torch.float64)
    maps = constants[:, :, None, None].expand(-1, -1, 5, 6)
    plain = torch.nn.functional.conv2d(torch.cat([x, maps], 1), w, padding=1)
    torch.testing.assert_close(conv2d_with_constants(x, constants, w), plain)
    inputs = [t.requires_grad_() for t in (x, constants, w)]
    assert torch.autograd.gradgradcheck(conv2d_with_constants, inputs)
