import pytest
import torch

from tests.training.ops.triton.gradients import assert_equal_to_reference
from training.ops.bias_act import bias_act


@pytest.mark.parametrize("activation", ["lrelu", "relu", None])
@pytest.mark.parametrize("shape", [(2, 6, 5, 7), (1, 1, 3, 3), (2, 70, 9, 8)])
def test_equals_the_reference(shape, activation):
    def operation(x, bias, impl):
        return bias_act(x, bias, activation, impl)

    assert_equal_to_reference(operation, torch.randn(shape), torch.randn(shape[1]))


def test_maps_of_more_tiles_than_programs(monkeypatch):
    from training.ops.triton import tiles

    monkeypatch.setattr(tiles, "MOST_PROGRAMS", 3)
    x, bias = torch.randn(2, 64, 33, 31), torch.randn(64)

    def operation(x, bias, impl):
        return bias_act(x, bias, "lrelu", impl)

    assert_equal_to_reference(operation, x, bias)


def test_the_result_is_channels_last():
    y = bias_act(torch.randn(2, 3, 4, 5), torch.randn(3), "lrelu", "triton")
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_any_memory_format_is_read():
    x, bias = torch.randn(2, 5, 3, 4).requires_grad_(), torch.randn(5).requires_grad_()
    for view in (
        lambda: (x.transpose(2, 3), bias),
        lambda: (torch.cat([x, 2 * x])[::2], bias.flip(0)),
        lambda: (x, bias[:1].expand(5)),
    ):
        results = []
        for impl in ("triton", "ref"):
            y = bias_act(*view(), "lrelu", impl)
            first = torch.autograd.grad(y.pow(2).sum(), (x, bias), create_graph=True)
            results.append((y, *first, *torch.autograd.grad(sum(g.sum() for g in first), (x, bias))))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs)
