"""What a network file holds, and opening one."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from dnnlib.errors import UserError
from training.config import ImageSpec


@dataclass
class Networks:
    """The networks of one file, in eval mode on the CPU; None where the file has none."""

    G: nn.Module | None
    D: nn.Module | None
    G_ema: nn.Module | None
    spec: ImageSpec
    cur_nimg: int | None
    """Real images shown to D when the file was written."""

    def generator(self) -> nn.Module:
        """The generator to sample: G_ema, or G if there is no other; UserError without either."""
        net = self.G_ema if self.G_ema is not None else self.G
        if net is None:
            raise UserError("the network file holds no generator")
        return net


def load_network(path: str | Path) -> Networks:
    """Open a snapshot of `train.py` (safetensors). Runs no code from the file. UserError if it is not one."""
    from pretrained.native import load_snapshot

    return load_snapshot(Path(path))
