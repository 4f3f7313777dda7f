"""Random numbers of samples, some of which are left alone."""

import torch

from training.augment.random_numbers import RandomNumbers


def test_values_are_chosen_together():
    numbers = RandomNumbers(10000, torch.Generator().manual_seed(0), torch.tensor(0.2, dtype=torch.float64))
    u, z = numbers.uniform(-1, 3), numbers.normal(2.0)
    assert -1 <= u.min() < -0.99 and 2.99 < u.max() < 3 and 1.95 < z.std() < 2.05
    a, b = numbers.chosen_together((u, z), 7)
    assert torch.equal(a == 7, b == 7) and 0.18 < (a != 7).double().mean() < 0.22
    assert torch.equal(a[a != 7], u[a != 7])
    assert 0.58 < (numbers.chosen(u, 7, torch.tensor(0.6)) != 7).double().mean() < 0.62
