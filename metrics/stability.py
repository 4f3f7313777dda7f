"""Stability of training (MSG-GAN, Karnewar & Wang 2020, section 4.3, figure 5): how much the images of fixed latents
change from one snapshot to the next. Needs two successive snapshots of a run."""

import numpy as np
import torch

from metrics.context import Context, Measurement


def stability(context: Context, n: int) -> Measurement:
    """Measure the mean squared difference between fakes and those of the previous snapshot, same latents and noise,
    images in [-1,1]; it falls as training settles. Values are the largest level and each level, named by its height."""
    # The session leaves this metric out where there is none.
    assert context.previous is not None
    generator = context.generator()
    previous = generator.of(context.previous())
    fakes = context.draw_fakes(n)

    def differences(indices: np.ndarray) -> np.ndarray:
        # The same indices give the same latents, noise and labels.
        pairs = zip(previous.pyramid(indices), generator.pyramid(indices), strict=True)
        squares = [(before - after).square().mean((1, 2, 3)) for before, after in pairs]
        return torch.stack(squares, 1).double().cpu().numpy()  # [n,levels]

    batches = context.features.stream(n, differences, "fakes")
    means = np.concatenate(list(batches)).mean(0)
    levels = {f"stability_{4 << level}": float(mean) for level, mean in enumerate(means)}
    return Measurement({"stability": float(means[-1]), **levels}, fakes.facts)
