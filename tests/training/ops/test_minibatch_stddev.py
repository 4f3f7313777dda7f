import numpy as np
import pytest
import torch

from training.ops.minibatch_stddev import minibatch_stddev


@pytest.mark.parametrize(("n", "group", "features"), [(8, 4, 1), (4, 4, 2), (6, 3, 1), (2, 4, 1), (1, 4, 1)])
def test_against_loops(n, group, features):
    x = torch.randn(n, 4, 3, 2, dtype=torch.float64)
    out = minibatch_stddev(x, group, features).numpy()
    groups = n // min(group, n)
    for i in range(n):
        members = x.numpy()[i % groups :: groups]  # interleaved
        std = np.sqrt(members.var(0) + 1e-8)
        for f, chunk in enumerate(np.split(std, features)):
            np.testing.assert_allclose(out[i, 4 + f], chunk.mean(), rtol=1e-12)
    np.testing.assert_array_equal(out[:, :4], x)


def test_second_gradient():
    x = torch.randn(4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: minibatch_stddev(x, 2, 1), (x,))


def test_indivisible_batch_is_refused():
    with pytest.raises(ValueError, match="found 5 images"):
        minibatch_stddev(torch.zeros(5, 1, 4, 4), 4, 1)
