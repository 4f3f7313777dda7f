"""The commands of dataset_tool.py."""

from collections.abc import Callable

from dataprep.checks import inspect, validate
from dataprep.compare import compare
from dataprep.convert import convert, extract
from dataprep.display import display
from dataprep.sources.celeba import create_celeba
from dataprep.sources.characters import create_robohash
from dataprep.sources.cifar import create_cifar10, create_cifar100
from dataprep.sources.hdf5 import create_from_hdf5
from dataprep.sources.hugging_face import create_from_hf
from dataprep.sources.images import create_from_images
from dataprep.sources.lsun import create_lsun, create_lsun_wide
from dataprep.sources.mnist import create_mnist, create_mnistrgb
from dataprep.sources.svhn import create_svhn
from dataprep.sources.web_dataset import create_from_webdataset
from dnnlib import cli

# The order is that of --help: first what makes datasets, then what works on them.
COMMANDS: dict[str, Callable[..., int | None]] = {
    # Any images, or none at all.
    "create_robohash": create_robohash,
    "create_from_images": create_from_images,
    "create_from_webdataset": create_from_webdataset,
    "create_from_hf": create_from_hf,
    # Published datasets, in the files that they are distributed in.
    "create_mnist": create_mnist,
    "create_mnistrgb": create_mnistrgb,
    "create_cifar10": create_cifar10,
    "create_cifar100": create_cifar100,
    "create_svhn": create_svhn,
    "create_lsun": create_lsun,
    "create_lsun_wide": create_lsun_wide,
    "create_celeba": create_celeba,
    "create_from_hdf5": create_from_hdf5,
    # Datasets that are there already.
    "convert": convert,
    "display": display,
    "extract": extract,
    "compare": compare,
    "inspect": inspect,
    "validate": validate,
}


def main() -> int | None:
    """Parse the command line and run the command."""
    return cli.run_command(COMMANDS, "Create datasets for training, and look at them.")
