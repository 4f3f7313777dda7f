"""Fréchet inception distance (Heusel et al. 2017; reference implementations: TTUR's fid.py, torch-fidelity), and the
same distance on DINOv2 features (Stein et al. 2023)."""

from functools import partial

from dnnlib import distributed
from metrics.context import Context
from metrics.moments import bias, frechet


def distance(ctx: Context, n: int, full: bool, detector_name: str, name: str) -> dict[str, float]:
    """Distance between n fakes and n reals, or all reals; lower is better. Its `bias` is how much of it is due to the
    numbers of images alone; with fewer images than twice the features it is more than that."""
    detector = ctx.detector(detector_name)
    reals, n_real = ctx.reals_of(None if full else n)
    real = ctx.moments(reals, n_real, detector, "reals")
    fakes, n = ctx.fakes_of(n)
    fake = ctx.moments(fakes, n, detector, "fakes")

    def distances() -> tuple[float, float, int]:
        found = frechet(fake.total(), real.total())
        return found, bias(fake, real, found), real.sum.shape[1]

    found, due, width = distributed.on_main(distances)
    ctx.facts["features"] = width
    ctx.facts["bias_is"] = "estimated" if min(n, n_real, len(reals)) >= 2 * width else "a lower bound"
    return {name: found, f"{name}_bias": due}


fid = partial(distance, full=False, detector_name="inception", name="fid")
"""As the original: n reals drawn by repeating the set."""

fid_full = partial(distance, full=True, detector_name="inception", name="fid")
"""StyleGAN2's convention: all reals once."""

fd_dinov2 = partial(distance, full=True, detector_name="dinov2", name="fd_dinov2")
