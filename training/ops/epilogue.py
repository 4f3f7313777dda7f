"""What follows every convolution of the synthesis network. First-order gradients are what training needs."""

import torch

from training.ops.bias_act import bias_act

EPS = 1e-8


def pixel_norm(x: torch.Tensor, dim: int = 1) -> torch.Tensor:
    """Scale feature vectors along `dim` to unit mean square (ProGAN, section 4.2)."""
    y = x.to(torch.promote_types(x.dtype, torch.float32))
    return (y * (y.square().mean(dim, keepdim=True) + EPS).rsqrt()).to(x.dtype)


def instance_norm_style(x: torch.Tensor, norm: bool, style: torch.Tensor | None) -> torch.Tensor:
    """AdaIN (StyleGAN, eq. 1) on x [N,C,H,W]: normalise each map if `norm` (biased variance), then x * (scale+1) + shift
    with style [N,2C] = (scale, shift) if given. Statistics in at least float32."""
    if not norm and style is None:
        return x
    wide = torch.promote_types(x.dtype, torch.float32)
    y = x.to(wide)
    gain = torch.ones((), dtype=wide, device=x.device)
    if norm:
        mean = y.mean((2, 3), keepdim=True)  # [N,C,1,1]
        y = y - mean
        gain = (y.square().mean((2, 3), keepdim=True) + EPS).rsqrt()  # [N,C,1,1]
    if style is None:
        return (y * gain).to(x.dtype)
    scale, shift = style.to(wide)[:, :, None, None].chunk(2, 1)  # [N,C,1,1] each
    return (y * (gain * (scale + 1)) + shift).to(x.dtype)


def synthesis_epilogue(
    x: torch.Tensor,
    bias: torch.Tensor,
    activation: str,
    noise: torch.Tensor | None,
    noise_strength: torch.Tensor | None,
    use_pixel_norm: bool,
    use_instance_norm: bool,
    style: torch.Tensor | None,
) -> torch.Tensor:
    """noise -> bias -> activation -> pixel norm -> instance norm -> style, in this order (SEMANTICS 4).

    x [N,C,H,W]; bias and noise_strength [C]; noise [N or 1,1,H,W]; style [N,2C]. Keeps the dtype of x.
    """
    if noise is not None and noise_strength is not None:
        x = x + noise.to(x.dtype) * noise_strength.to(x.dtype)[:, None, None]  # [N,C,H,W]
    x = bias_act(x, bias, activation)
    if use_pixel_norm:
        x = pixel_norm(x)
    return instance_norm_style(x, use_instance_norm, style)
