"""Multi-scale structural similarity between pairs of fakes (Wang et al. 2003; as a measure of diversity Odena et al.
2017 and Karras et al. 2018; reference implementation: Progressive GAN's metrics/ms_ssim.py): low = diverse."""

import numpy as np
import torch
import torch.nn.functional as F

from metrics.context import Context, Measurement

# The weight of each scale, the largest first.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

# The Gaussian window in pixels, and the constants that keep ratios of small numbers stable.
WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


def msssim(context: Context, n: int) -> Measurement:
    """Measure the mean over n/2 pairs of images 0 and 1, 2 and 3, ..."""
    fakes = context.draw_fakes(n)
    fakes = fakes._replace(n=fakes.n // 2 * 2)

    def similarities(images: torch.Tensor, indices: np.ndarray) -> np.ndarray:
        x = images.to(context.device).double()
        return multi_scale(x[::2], x[1::2]).cpu().numpy()

    # Batches are even, so that no pair is divided.
    batches = context.features.stream_images(fakes, similarities, "pairs", multiple=2)
    values = np.concatenate(list(batches))
    facts = fakes.facts | {"num_fakes": fakes.n, "num_pairs": len(values)}
    return Measurement({"msssim": float(values.mean())}, facts)


def multi_scale(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the similarity [N], 0 to 1, of images [N,C,h,w], 0 to 255."""
    factors = []
    for k, weight in enumerate(WEIGHTS):
        similarity, contrast = single_scale(a, b)
        factors.append((similarity if k == len(WEIGHTS) - 1 else contrast).clamp(min=0) ** weight)
        a, b = halve(a), halve(b)
    return torch.stack(factors).prod(0)


def halve(x: torch.Tensor) -> torch.Tensor:
    """Return means over 2x2 pixels; an odd last row or column is doubled."""
    h, w = x.shape[2:]
    return F.avg_pool2d(F.pad(x, (0, w % 2, 0, h % 2), mode="replicate"), 2)


def single_scale(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean similarity [N], and the mean [N] of its contrast and structure part."""
    # Images smaller than the window get a smaller one.
    size = min(WINDOW, *a.shape[2:])
    sigma = size * SIGMA / WINDOW
    offset = torch.arange(size, dtype=a.dtype, device=a.device) - (size - 1) / 2
    gauss = torch.exp(-(offset**2) / (2 * sigma**2))
    window = (gauss[:, None] * gauss / gauss.sum() ** 2).expand(a.shape[1], 1, -1, -1)

    def blur(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, window, groups=x.shape[1])

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b

    # 255 is the range of values.
    c1, c2 = (K1 * 255) ** 2, (K2 * 255) ** 2
    contrast = (2 * covariance + c2) / (var_a + var_b + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (luminance * contrast).mean((1, 2, 3)), contrast.mean((1, 2, 3))
