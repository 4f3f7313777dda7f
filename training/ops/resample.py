"""Low-pass filtering and resampling convolutions. Every gradient order is supported."""

import torch
import torch.nn.functional as F


def blur2d(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Depthwise cross-correlation of x [N,C,H,W] with `kernel` [k,k] and zero SAME padding ((k-1)//2 before, the rest
    after), so that the size stays. TF: `_blur2d`; its hand-written gradient is wrong for even k, ours is exact."""
    k = kernel.shape[0]
    c = x.shape[1]
    before, after = (k - 1) // 2, k // 2
    weight = kernel.to(x.dtype).expand(c, 1, k, k)  # [C,1,k,k]
    if before == after:
        return F.conv2d(x, weight, padding=before, groups=c)
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, groups=c)


def blur_kernel(taps: tuple[int, ...]) -> torch.Tensor:
    """Normalised outer product [k,k] of a 1-d filter with itself."""
    f = torch.tensor(taps, dtype=torch.float32)
    return torch.outer(f, f) / f.sum() ** 2


def _spread(weight: torch.Tensor) -> torch.Tensor:
    """3x3 kernels to the 4x4 kernels of the same convolution followed or preceded by a 2x2 mean."""
    return F.avg_pool2d(F.pad(weight, (1, 1, 1, 1)), 2, stride=1)  # [O,I,4,4]


def conv_up2d(x: torch.Tensor, weight: torch.Tensor, rotate: bool) -> torch.Tensor:
    """Nearest-neighbour 2x up-sampling and a 3x3 convolution in one: [N,I,H,W], weight [O,I,3,3] -> [N,O,2H,2W].

    Both are one transposed convolution of stride 2 with a 4x4 kernel, at 4/9 of the multiplications. `rotate` turns the
    3x3 kernel by 180 degrees, which is what the original's fused layers do (docs/semantics.md, 7).
    """
    w = weight if rotate else weight.flip((2, 3))
    return F.conv_transpose2d(x, 4 * _spread(w).transpose(0, 1), stride=2, padding=1)  # [N,O,2H,2W]


def conv_down2d(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A 3x3 convolution and a 2x2 mean in one: [N,I,H,W], weight [O,I,3,3] -> [N,O,H/2,W/2]; a convolution of stride 2
    with a 4x4 kernel, at 4/9 of the multiplications."""
    return F.conv2d(x, _spread(weight), stride=2, padding=1)  # [N,O,H/2,W/2]
