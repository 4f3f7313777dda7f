"""Fréchet inception distance (Heusel et al. 2017; reference implementations: TTUR's fid.py, torch-fidelity), and the
same distance on DINOv2 features (Stein et al. 2023)."""

from functools import partial

from dnnlib import distributed
from metrics.context import Context, Measurement
from metrics.moments import BiasKind, bias, frechet


def distance(context: Context, n: int, full: bool, detector_name: str, name: str) -> Measurement:
    """Measure the distance between n fakes and n reals, or all reals; lower is better. Its `bias` is how much of it is
    due to the numbers of images alone; with fewer images than twice the features the true bias is larger.

    full: all reals instead of n. name: of the distance among the values.
    """
    detector = context.detectors[detector_name]
    reals = context.draw_reals_once() if full else context.draw_reals(n)
    fakes = context.draw_fakes(n)
    real = context.features.moments(reals, detector)
    fake = context.features.moments(fakes, detector)

    # Only the main process has the moments.
    def distances() -> tuple[float, float, int]:
        value = frechet(fake.total(), real.total())
        return value, bias(fake, real, value), real.sum.shape[1]

    value, value_bias, width = distributed.on_main(distances)
    # Reals that are drawn again count once.
    images = min(fakes.n, reals.distinct)
    kind = BiasKind.ESTIMATED if images >= 2 * width else BiasKind.LOWER_BOUND
    facts = detector.facts | reals.facts | fakes.facts | {"features": width, "bias_is": kind}
    return Measurement({name: value, f"{name}_bias": value_bias}, facts)


fid = partial(distance, full=False, detector_name="inception", name="fid")
"""As the original has it: n reals drawn by repeating the set."""

fid_full = partial(distance, full=True, detector_name="inception", name="fid")
"""StyleGAN2's convention: all reals once."""

fd_dinov2 = partial(distance, full=True, detector_name="dinov2", name="fd_dinov2")
