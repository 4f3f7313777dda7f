"""Inception score (Salimans et al. 2016; reference implementation: OpenAI's improved-gan; StyleGAN2 uses the same)."""

from collections.abc import Iterable

import numpy as np
import torch

from dnnlib.errors import UserError
from metrics.context import Context, Measurement

SPLITS = 10


def inception_score(context: Context, n: int) -> Measurement:
    """Measure exp of the mean divergence of p(class | image) from p(class); higher is better. Values are the mean and
    deviation over ten parts of the images."""
    detector = context.detectors["inception"]
    fakes = context.draw_fakes(n)
    if fakes.n < SPLITS:
        raise UserError(f"inception score: {fakes.n} images, expected at least one for each of its {SPLITS} parts")

    logits = context.features.batches(fakes, detector, output=1)
    mean, std = score(logits, fakes.n)
    return Measurement({"is_mean": mean, "is_std": std}, detector.facts | fakes.facts)


def score(logits: Iterable[np.ndarray], n: int, splits: int = SPLITS) -> tuple[float, float]:
    """Return mean and deviation over `splits` parts of n images, from logits [batch,classes] that come in order."""
    # Where each part ends, and how many images it has.
    ends = [(k + 1) * n // splits for k in range(splits)]
    counts = np.diff([0, *ends])
    totals = np.zeros((splits, 1))  # becomes [splits,classes]
    negative_entropy = np.zeros(splits)

    # Only sums are held. A batch may end one part, or several, and begin the next.
    start = 0
    for batch in logits:
        log_p = torch.from_numpy(batch).double().log_softmax(1).numpy()
        p = np.exp(log_p)
        split = np.searchsorted(ends, np.arange(start, start + len(batch)), side="right")
        is_member = np.equal.outer(np.arange(splits), split)  # [splits,batch]
        totals = totals + is_member @ p
        negative_entropy += is_member @ (p * log_p).sum(1)
        start += len(batch)

    # A class of probability 0 contributes nothing.
    q = totals / counts[:, None]
    scores = np.exp(negative_entropy / counts - (q * np.log(q.clip(min=1e-300))).sum(1))
    return float(np.mean(scores)), float(np.std(scores))
