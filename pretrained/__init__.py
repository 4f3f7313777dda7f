"""Opening networks: `from pretrained import load_network`."""

from pretrained.formats import load_network
from pretrained.networks import Networks

__all__ = ["Networks", "load_network"]
