"""Images and films from a trained network; what Python programs need of it can be imported from here."""

from dnnlib.images import save_grid, save_image, to_pil
from dnnlib.video import save_video
from generation.sampling import Latent, Sample, Sampler, SamplingOptions
from generation.selection import parse_seeds

__all__ = [
    "Latent",
    "Sample",
    "Sampler",
    "SamplingOptions",
    "parse_seeds",
    "save_grid",
    "save_image",
    "save_video",
    "to_pil",
]
