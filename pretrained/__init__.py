"""Opening networks: `from pretrained import load_network`."""

from pretrained.loading import load_network
from pretrained.network_file import NetworkFile

__all__ = ["NetworkFile", "load_network"]
