"""Network snapshots: weights to use, in safetensors, with what is needed to rebuild the networks in the metadata."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save

from dnnlib.files import atomic
from training.config import as_dict
from training.networks.base import Discriminator, Generator
from training.spec import ImageSpec

FORMAT, VERSION = "msg-gan", 1


def save_snapshot(
    path: Path,
    networks: Mapping[str, Generator | Discriminator],
    spec: ImageSpec,
    cur_nimg: int | None,
    origin: str = "",
) -> None:
    """Write the networks (some of `G`, `D`, `G_ema`), tensors named `G_ema.synthesis.b4...`, whole or not at all.

    The metadata has one entry, `msg-gan`, so that the same networks give the same bytes: JSON with version, G and D
    (their configs, null if absent), images, cur_nimg, and origin, what they were converted from.
    """
    tensors = {
        f"{name}.{key}": t.detach().cpu().clone().contiguous()
        for name, net in networks.items()
        for key, t in net.state_dict().items()
    }
    configs = {name.removesuffix("_ema"): as_dict(net.cfg) for name, net in networks.items()}
    facts = {
        "version": VERSION,
        "G": configs.get("G"),
        "D": configs.get("D"),
        "images": as_dict(spec),
        "cur_nimg": cur_nimg,
        "origin": origin,
    }
    with atomic(path) as temporary:
        temporary.write_bytes(save(tensors, {FORMAT: json.dumps(facts)}))
