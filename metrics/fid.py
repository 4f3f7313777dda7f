"""Fréchet inception distance (Heusel et al. 2017; reference implementations: TTUR's fid.py, torch-fidelity), and the
same distance on DINOv2 features (Stein et al. 2023)."""

from functools import partial

from metrics.context import Context
from metrics.statistics import bias, frechet


def distance(ctx: Context, n: int, full: bool, detector_name: str, name: str) -> dict[str, float]:
    """Distance between n fakes and n reals, or all reals; lower is better. `bias` estimates how much of it is due to
    the numbers of images alone."""
    detector = ctx.detector(detector_name)
    real = ctx.moments(*ctx.reals_of(None if full else n), detector, "reals")
    fake = ctx.moments(*ctx.fakes_of(n), detector, "fakes")
    ctx.facts["features"] = real.sum.shape[1]
    found = frechet(fake.total(), real.total())
    return {name: found, f"{name}_bias": bias(fake, real, found)}


fid = partial(distance, full=False, detector_name="inception", name="fid")
"""As the original: n reals drawn by repeating the set."""

fid_full = partial(distance, full=True, detector_name="inception", name="fid")
"""StyleGAN2's convention: all reals once."""

fd_dinov2 = partial(distance, full=True, detector_name="dinov2", name="fd_dinov2")
