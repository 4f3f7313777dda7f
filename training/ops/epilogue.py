"""What follows every convolution of the synthesis network. Every gradient order is supported."""

from typing import Any

import torch
import torch.nn.functional as F

from training.ops.bias_act import SLOPES, bias_act
from training.ops.dtype import at_least_fp32, with_range
from training.ops.implementation import Impl, use_triton
from training.ops.opaque import opaque

EPS = 1e-8


def pixel_norm(x: torch.Tensor, dim: int = 1, impl: Impl = "auto") -> torch.Tensor:
    """Scale feature vectors along `dim` to unit mean square (ProGAN, section 4.2)."""
    triton = x.ndim == 4 and dim == 1 and use_triton(impl, x, when_compiling=False)
    return _pixel_norm(x, dim, triton)


@opaque
def _pixel_norm(x: torch.Tensor, dim: int, triton: bool) -> torch.Tensor:
    """Call the operation below."""
    return _PixelNorm.apply(x, dim, triton)  # type: ignore[no-any-return, no-untyped-call]


class _PixelNorm(torch.autograd.Function):
    """The backward pass in half the passes over the maps that autograd takes.

    With the incoming gradient g and y = r * x, it is dx = r * (g - y * mean(g * y)).
    """

    @staticmethod
    def forward(x: torch.Tensor, dim: int, triton: bool) -> torch.Tensor:
        if triton:
            from training.ops.triton import pixel_norm as kernels

            return kernels.forward(x, EPS)  # type: ignore[no-any-return]
        y = at_least_fp32(x)
        return (y * _inverse_rms(y, dim)).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, int, bool], output: torch.Tensor) -> None:
        x, ctx.dim, ctx.triton = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (x,) = ctx.saved_tensors

        # The kernel has no derivative of its own, so a second one takes the operators below.
        if ctx.triton and not torch.is_grad_enabled():
            from training.ops.triton import pixel_norm as kernels

            return kernels.gradient(g, x, EPS), None, None
        y, g = at_least_fp32(x), at_least_fp32(g)
        r = _inverse_rms(y, ctx.dim)

        mean = (g * y).mean(ctx.dim, keepdim=True) * r.square()
        return (torch.addcmul(g, y, mean, value=-1) * r).to(x.dtype), None, None


def _inverse_rms(x: torch.Tensor, dim: int) -> torch.Tensor:
    """Return 1 / sqrt(mean square) along `dim`, which is kept with size 1."""
    return (x.square().mean(dim, keepdim=True) + EPS).rsqrt()


def instance_norm_style_ref(x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Compute `instance_norm_style` as its equation reads, with the gradients of autograd: the specification."""
    # Zero mean and unit variance for each map of each sample.
    y = at_least_fp32(x)
    y = y - y.mean((2, 3), keepdim=True)
    y = y * (y.square().mean((2, 3), keepdim=True) + EPS).rsqrt()

    scale, shift = style.to(y.dtype)[:, :, None, None].chunk(2, 1)  # [N,C,1,1] each
    return (y * (scale + 1) + shift).to(x.dtype)


class _InstanceNormStyle(torch.autograd.Function):
    """The backward pass in two reductions and two passes over the maps, where autograd takes about ten.

    With a = gain * scale, n pixels, normalised maps y and incoming gradient g, it is
    dx = a * (g - mean(g) - y * mean(g * y)), dscale = sum(g * y), dshift = sum(g), all per map.
    """

    @staticmethod
    def forward(x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        centred, gain, scale, shift = _moments(with_range(x), style)
        dtype = centred.dtype
        return torch.addcmul(shift.to(dtype), centred, (gain * scale).to(dtype)).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # The moments are computed again, which is cheaper than keeping `centred`, a tensor as large as x.
        x, style = ctx.saved_tensors
        centred, gain, scale, _ = _moments(with_range(x), style)
        g = with_range(g)

        # The two reductions, which are also the gradients of style.
        n = x.shape[2] * x.shape[3]
        sum_g = _pixel_sum(g)  # [N,C,1,1]
        sum_gx = _pixel_sum(g * centred) * gain  # [N,C,1,1], of g times the normalised x

        # The two passes over the maps.
        a = gain * scale
        dx = torch.addcmul((-a * sum_g / n).to(g.dtype), g, a.to(g.dtype))
        dx = torch.addcmul(dx, centred, (-a * gain * sum_gx / n).to(g.dtype))

        return dx.to(x.dtype), torch.cat([sum_gx, sum_g], 1)[:, :, 0, 0].to(style.dtype)


def _pixel_sum(x: torch.Tensor) -> torch.Tensor:
    """Sum over the pixels of x [N,C,H,W], in at least float32: [N,C,1,1]."""
    return x.sum((2, 3), keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))


def _moments(x: torch.Tensor, style: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return x minus its mean [N,C,H,W], and 1 / standard deviation, scale + 1 and shift [N,C,1,1] each."""
    n = x.shape[2] * x.shape[3]
    mean = _pixel_sum(x) / n
    centred = x - mean.to(x.dtype)
    gain = (_pixel_sum(centred * centred) / n + EPS).rsqrt()

    scale, shift = style.to(gain.dtype)[:, :, None, None].chunk(2, 1)
    return centred, gain, scale + 1, shift


@opaque
def instance_norm_style(x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
    """Apply AdaIN (StyleGAN, eq. 1) to x [N,C,H,W] with style [N,2C] = (scale, shift).

    Each map is normalised (biased variance, eps 1e-8), then multiplied by scale + 1 and moved by shift. Sums over
    pixels are taken in at least float32.
    """
    return _InstanceNormStyle.apply(x, style)  # type: ignore[no-untyped-call]


def _add_noise(x: torch.Tensor, noise: torch.Tensor | None, strength: torch.Tensor | None) -> torch.Tensor:
    """Add noise [N or 1,1,H,W] times strength [C] to x [N,C,H,W], if there is any."""
    if noise is None or strength is None:
        return x
    return torch.addcmul(x, noise.to(x.dtype), strength.to(x.dtype)[:, None, None])


def published_epilogue_ref(
    x: torch.Tensor,
    bias: torch.Tensor,
    noise: torch.Tensor | None,
    strength: torch.Tensor | None,
    style: torch.Tensor,
    slope: float,
) -> torch.Tensor:
    """Compute what the kernels of the epilogue do: noise, bias, activation of this slope, instance norm and style."""
    x = _add_noise(x, noise, strength) + bias.to(x.dtype)[:, None, None]
    return instance_norm_style(F.leaky_relu(x, slope), style)


@opaque
def _fused(
    x: torch.Tensor,
    bias: torch.Tensor,
    noise: torch.Tensor | None,
    noise_strength: torch.Tensor | None,
    style: torch.Tensor,
    slope: float,
) -> torch.Tensor:
    """Call the kernels, which need Triton."""
    from training.ops.triton import epilogue as kernels

    return kernels.epilogue(x, bias, noise, noise_strength, style, slope, EPS)


def synthesis_epilogue(
    x: torch.Tensor,
    bias: torch.Tensor,
    activation: str,
    noise: torch.Tensor | None,
    noise_strength: torch.Tensor | None,
    use_pixel_norm: bool,
    use_instance_norm: bool,
    style: torch.Tensor | None,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Apply noise, bias, activation, pixel norm, instance norm and style, in this order (docs/semantics.md, 4).

    x [N,C,H,W]; bias and noise_strength [C]; noise [N or 1,1,H,W]; style [N,2C]. Keeps the dtype of x.
    """
    # Instance norm and style are one operation; without a style its scale is 1 and its shift 0.
    if use_instance_norm and style is None:
        style = x.new_zeros(x.shape[0], 2 * x.shape[1])
    if noise is None or noise_strength is None:
        noise = noise_strength = None

    # With the published options, kernels do all of this and read the maps twice. They have no gradient of the noise.
    published = use_instance_norm and not use_pixel_norm and not (noise is not None and noise.requires_grad)
    if published and style is not None and use_triton(impl, x, when_compiling=True):
        return _fused(x, bias, noise, noise_strength, style, SLOPES[activation])

    x = bias_act(_add_noise(x, noise, noise_strength), bias, activation, impl)
    if use_pixel_norm:
        x = pixel_norm(x, impl=impl)

    if style is None:
        return x
    if use_instance_norm:
        return instance_norm_style(x, style)

    scale, shift = style.to(x.dtype)[:, :, None, None].chunk(2, 1)  # [N,C,1,1] each
    return torch.addcmul(shift, x, scale + 1)
