"""Paths through latent space that end where they began: what films of a network follow."""

import numpy as np


def gaussian_walk(frames: int, width: int, smoothing: float, seed: int) -> np.ndarray:
    """Return latents [frames,width] that drift smoothly: white noise, filtered by a Gaussian along time.

    smoothing: standard deviation of the Gaussian in frames. The path is a loop, and every latent has unit mean square.
    This is the walk of the originals' interpolation videos (StyleGAN's and BMSG-GAN's `latent_space_interpolation`).
    """
    noise = np.random.RandomState(seed).randn(frames, width)

    # The filter wraps around, so it is a product of spectra. Its weights are those of scipy.ndimage.gaussian_filter,
    # which cuts the Gaussian off at four standard deviations.
    radius = int(4 * smoothing + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / smoothing) ** 2) if smoothing > 0 else np.ones(1)
    kernel = np.zeros(frames)
    np.add.at(kernel, offsets % frames, weights / weights.sum())
    spectrum = np.fft.rfft(noise, axis=0) * np.fft.rfft(kernel)[:, None]
    walk = np.fft.irfft(spectrum, frames, axis=0)

    return walk / np.sqrt(np.square(walk).mean(1, keepdims=True))


def spline_walk(keys: np.ndarray, frames: int) -> np.ndarray:
    """Return `frames` points [frames,...] of a closed, smooth curve through the points `keys` [K,...].

    It is a Catmull-Rom spline: its direction at a key is that from the key before to the key after.
    """
    i, t = _positions(len(keys), frames, keys.ndim)
    before, start, end, after = (keys[(i + k) % len(keys)] for k in (-1, 0, 1, 2))
    return 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )


def slerp_walk(keys: np.ndarray, frames: int) -> np.ndarray:
    """Return `frames` points [frames,width] of a closed path along great circles through `keys` [K,width].

    Lengths are interpolated linearly, so that all points are as far from the origin as latents are (White 2016).
    """
    i, t = _positions(len(keys), frames, keys.ndim)
    start = keys[i]
    end = keys[(i + 1) % len(keys)]
    start_length = np.linalg.norm(start, axis=1, keepdims=True)
    end_length = np.linalg.norm(end, axis=1, keepdims=True)
    a = start / start_length
    b = end / end_length

    # Between equal keys there is no angle to divide by.
    angle = np.arccos(np.clip((a * b).sum(1, keepdims=True), -1, 1))
    sine = np.maximum(np.sin(angle), 1e-12)
    direction = np.where(angle > 1e-6, (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / sine, a)
    return direction * ((1 - t) * start_length + t * end_length)


def there_and_back(frames: int) -> np.ndarray:
    """Return `frames` positions of a swing from 0 to 1, through 0 to -1, and back to 0."""
    return np.sin(np.linspace(0, 2 * np.pi, frames, endpoint=False))


def _positions(keys: int, frames: int, ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each frame of a loop the key before it, and how far it is from there to the next one, [0,1)."""
    position = np.arange(frames) * keys / frames
    i = position.astype(np.int64)
    return i, (position - i).reshape(-1, *[1] * (ndim - 1))
