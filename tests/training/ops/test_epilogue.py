import pytest
import torch

from training.ops.epilogue import instance_norm_style, instance_norm_style_ref, pixel_norm, synthesis_epilogue


def f64(*shape):
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def test_instance_norm_style_equals_reference():
    x, style = f64(2, 3, 4, 5), f64(2, 6)
    torch.testing.assert_close(instance_norm_style(x, style), instance_norm_style_ref(x, style))
    g = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad(instance_norm_style(x, style), (x, style), g),
        torch.autograd.grad(instance_norm_style_ref(x, style), (x, style), g),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    x, style = f64(1, 2, 2, 3), f64(1, 4)
    assert torch.autograd.gradcheck(instance_norm_style, (x, style))
    assert torch.autograd.gradgradcheck(instance_norm_style, (x, style))


def test_bf16_keeps_dtype_and_stays_near():
    x, style = torch.randn(2, 8, 16, 16) + 3, torch.randn(2, 16)
    y = instance_norm_style(x.bfloat16(), style)
    assert y.dtype == torch.bfloat16
    assert (y.float() - instance_norm_style_ref(x, style)).abs().max() < 0.15


def test_eps_counts():
    """eps 1e-8, not torch's 1e-5: a map of tiny variance is still normalised."""
    x = torch.tensor([[[[0.0, 1e-3], [0.0, 1e-3]]]])
    y = instance_norm_style(x, torch.zeros(1, 2))
    assert y.abs().max() == pytest.approx((5e-4) / (2.5e-7 + 1e-8) ** 0.5, rel=1e-4)


def test_order_of_the_epilogue():
    """noise -> bias -> activation -> pixel norm -> instance norm -> style, composed here by hand."""
    x, bias, strength, style = f64(2, 4, 3, 3), f64(4), f64(4), f64(2, 8)
    noise = f64(2, 1, 3, 3)
    y = torch.nn.functional.leaky_relu(x + noise * strength[:, None, None] + bias[:, None, None], 0.2)
    y = y / (y.square().mean(1, keepdim=True) + 1e-8).sqrt()
    expected = instance_norm_style_ref(y, style)
    actual = synthesis_epilogue(x, bias, "lrelu", noise, strength, True, True, style)
    torch.testing.assert_close(actual, expected)
    scaled = y * (style[:, :4, None, None] + 1) + style[:, 4:, None, None]
    torch.testing.assert_close(synthesis_epilogue(x, bias, "lrelu", noise, strength, True, False, style), scaled)


def test_pixel_norm():
    x = f64(2, 5)
    torch.testing.assert_close(pixel_norm(x).square().mean(1), torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 2, 4)])
def test_gradients_of_pixel_norm(shape):
    x, g = f64(*shape), torch.randn(shape, dtype=torch.float64)
    plain = x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()
    torch.testing.assert_close(torch.autograd.grad(pixel_norm(x), x, g), torch.autograd.grad(plain, x, g))
    assert torch.autograd.gradgradcheck(pixel_norm, (x,))
