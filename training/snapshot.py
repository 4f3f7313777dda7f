"""Network snapshots: weights to use, in safetensors, with what is needed to rebuild the networks in the metadata."""

import json
from pathlib import Path

from safetensors.torch import save
from torch import nn

from dnnlib.files import atomic
from training.config import ImageSpec, TrainConfig, as_dict

FORMAT, VERSION = "msg-gan", 1


def save_snapshot(path: Path, networks: dict[str, nn.Module], cfg: TrainConfig, spec: ImageSpec, cur_nimg: int) -> None:
    """Write the networks (`G`, `D`, `G_ema`), tensors named `G_ema.synthesis.b4...`, whole or not at all.

    The metadata has one entry, `msg-gan`, so that the same networks give the same bytes: JSON with version, kind
    (architecture), G and D (their configs), images and cur_nimg.
    """
    tensors = {
        f"{name}.{key}": t.detach().cpu().clone().contiguous()
        for name, net in networks.items()
        for key, t in net.state_dict().items()
    }
    facts = {
        "version": VERSION,
        "kind": "msg_stylegan",
        "G": as_dict(cfg.G),
        "D": as_dict(cfg.D),
        "images": as_dict(spec),
        "cur_nimg": cur_nimg,
    }
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, {FORMAT: json.dumps(facts)}))
