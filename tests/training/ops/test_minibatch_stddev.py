import numpy as np
import pytest
import torch

from training.ops.minibatch_stddev import conv2d_with_constants, minibatch_stddev


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


def test_second_gradient():
    x = torch.randn(4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: minibatch_stddev(x, 2, 1), (x,))


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
