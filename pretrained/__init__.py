"""Opening networks: `from pretrained import load_network`."""

from pretrained.networks import Networks, load_network

__all__ = ["Networks", "load_network"]
