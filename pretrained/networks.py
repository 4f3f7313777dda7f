"""What a network file holds, and opening one."""

from dataclasses import dataclass
from pathlib import Path

from dnnlib.downloads import fetch, is_url
from dnnlib.errors import UserError
from training.config import ImageSpec
from training.networks.msg_stylegan import Discriminator, Generator


@dataclass
class Networks:
    """The networks of one file, in eval mode on the CPU; None where the file has none."""

    G: Generator | None
    D: Discriminator | None
    G_ema: Generator | None
    spec: ImageSpec
    cur_nimg: int | None
    """Real images shown to D when the file was written."""

    def generator(self) -> Generator:
        """The generator to sample: G_ema, or G if there is no other; UserError without either."""
        net = self.G_ema if self.G_ema is not None else self.G
        if net is None:
            raise UserError("the network file holds no generator")
        return net


def load_network(path: str | Path) -> Networks:
    """Open a snapshot of `train.py` (safetensors): a file, or a URL whose copy is kept in torch.hub's cache. Runs no
    code from the file. UserError if it is not one."""
    from pretrained.native import load_snapshot

    return load_snapshot(fetch(str(path)) if is_url(str(path)) else Path(path))
