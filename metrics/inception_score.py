"""Inception score (Salimans et al. 2016; reference implementation: OpenAI's improved-gan; StyleGAN2 uses the same)."""

from collections.abc import Iterable

import numpy as np

from dnnlib.errors import UserError
from metrics.context import Context, Measurement

SPLITS = 10


def inception_score(context: Context, n: int) -> Measurement:
    """Measure exp of the mean divergence of p(class | image) from p(class), over ten splits: mean and deviation; higher
    is better."""
    detector = context.detector("inception")
    fakes = context.draw_fakes(n)
    if fakes.n < SPLITS:
        raise UserError(f"inception score: {fakes.n} images, expected at least one for each of its {SPLITS} parts")

    logits = context.features.batches(fakes.samples, fakes.n, detector, "fakes", output=1)
    mean, std = score(logits, fakes.n)
    return Measurement({"is_mean": mean, "is_std": std}, detector.facts | fakes.facts)


def score(logits: Iterable[np.ndarray], n: int, splits: int = SPLITS) -> tuple[float, float]:
    """Return mean and deviation for logits [batch,classes] that come in order, n in all; only sums are held."""
    ends = [(k + 1) * n // splits for k in range(splits)]
    scores: list[float] = []
    start = seen = 0
    total = np.zeros(1)
    negative_entropy = 0.0

    for batch in logits:
        x = batch.astype(np.float64)
        x = x - x.max(1, keepdims=True)
        log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
        p = np.exp(log_p)

        # A batch may end one split, or several, and begin the next.
        while len(p):
            take = min(len(p), ends[len(scores)] - seen)
            total = total + p[:take].sum(0)
            negative_entropy += float((p[:take] * log_p[:take]).sum())
            seen += take
            p, log_p = p[take:], log_p[take:]

            while len(scores) < splits and seen == ends[len(scores)]:
                q = total / (seen - start)
                scores.append(np.exp(negative_entropy / (seen - start) - (q * np.log(q.clip(min=1e-300))).sum()))
                start, total, negative_entropy = seen, np.zeros(1), 0.0

    return float(np.mean(scores)), float(np.std(scores))
