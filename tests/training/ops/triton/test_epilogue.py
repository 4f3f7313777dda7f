import pytest
import torch

from tests.training.ops.triton.gradients import assert_equal_to_reference
from training.ops.epilogue import synthesis_epilogue
from training.ops.opaque import tell_compiler
from training.ops.resample import blur2d


def epilogue(noise):
    """Return the published epilogue of these inputs: noise if any, bias, leaky ReLU, instance norm and style."""

    def operation(x, bias, style, strength, impl):
        given = None if noise is None else noise.to(x.dtype)
        return synthesis_epilogue(x, bias, "lrelu", given, strength, False, True, style, impl) + 0 * strength[0]

    return operation


def inputs(n, c, h, w):
    return torch.randn(n, c, h, w) * 2, torch.randn(c), torch.randn(n, 2 * c), torch.randn(c)


@pytest.mark.parametrize("shape", [(2, 6, 9, 7), (1, 1, 3, 5), (3, 70, 8, 8)])
@pytest.mark.parametrize("noises", ["none", "one for all", "one each"])
def test_equals_the_reference(shape, noises):
    n, _, h, w = shape
    noise = {"none": None, "one for all": torch.randn(1, 1, h, w), "one each": torch.randn(n, 1, h, w)}[noises]
    assert_equal_to_reference(epilogue(noise), *inputs(*shape), second=False)


def test_maps_of_more_tiles_than_programs(monkeypatch):
    from training.ops.triton import tiles

    monkeypatch.setattr(tiles, "MOST_PROGRAMS", 3)
    assert_equal_to_reference(epilogue(torch.randn(2, 1, 33, 31)), *inputs(2, 64, 33, 31), second=False)


def test_a_large_mean_costs_no_precision():
    x, bias, style, strength = inputs(2, 4, 16, 16)
    x = x + 1000
    actual = epilogue(None)(x, bias, style, strength, impl="triton")
    expected = epilogue(None)(x.double(), bias.double(), style.double(), strength.double(), impl="ref")
    torch.testing.assert_close(actual.double(), expected, atol=2e-3, rtol=0)


def test_without_a_style_maps_are_normalised():
    x, bias, _, _ = inputs(2, 4, 8, 8)
    y = synthesis_epilogue(x, bias, "lrelu", None, None, False, True, None, "triton")
    torch.testing.assert_close(y.mean((2, 3)), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var((2, 3), correction=0), torch.ones(2, 4), atol=1e-4, rtol=0)


def test_second_derivatives_are_those_of_the_reference():
    x, bias, style, strength = (t.requires_grad_() for t in inputs(2, 4, 4, 5))
    noise = torch.randn(2, 1, 4, 5)
    results = []
    for impl in ("triton", "ref"):
        y = epilogue(noise)(x, bias, style, strength, impl=impl)
        first = torch.autograd.grad(y.pow(3).sum(), (x, bias, style, strength), create_graph=True)
        results.append(torch.autograd.grad(sum(g.pow(2).sum() for g in first), (x, bias, style, strength)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-2 * theirs.abs().max().item())


def test_a_gradient_of_the_noise_is_that_of_the_reference():
    x, bias, style, strength = inputs(2, 4, 4, 5)
    noise = torch.randn(2, 1, 4, 5, requires_grad=True)
    ours, theirs = (
        torch.autograd.grad(epilogue(noise)(x, bias, style, strength, impl=impl).pow(3).sum(), noise)[0]
        for impl in ("triton", "ref")
    )
    torch.testing.assert_close(ours, theirs)


def test_shapes_that_kernels_cannot_read_are_refused():
    x, bias, style, strength = inputs(2, 4, 4, 5)
    for wrong in ((x, bias[:3], style, strength), (x, bias, style[:1], strength)):
        with pytest.raises(ValueError, match=r"found a \w+ of shape"):
            epilogue(None)(*wrong, impl="triton")
    with pytest.raises(ValueError, match="found noise of shape"):
        epilogue(torch.randn(2, 1, 1, 1))(x, bias, style, strength, impl="triton")


def test_compiled_with_a_blur_it_is_the_same():
    x, bias, style, _ = (t.requires_grad_() for t in inputs(2, 4, 5, 6))

    def loss():
        y = blur2d(x, (1, 2, 1), "triton")
        return synthesis_epilogue(y, bias, "lrelu", None, None, False, True, style, "triton").pow(3).sum()

    tell_compiler()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    expected = torch.autograd.grad(loss(), (x, bias, style))
    for ours, theirs in zip(torch.autograd.grad(compiled(), (x, bias, style)), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
