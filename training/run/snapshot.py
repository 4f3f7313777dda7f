"""Network snapshots: weights to use, in safetensors, with what is needed to rebuild the networks in the metadata."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save

from dnnlib.files import atomic
from training.config import as_dict
from training.networks.base import Discriminator, Generator
from training.spec import ImageSpec

# The one entry of the metadata, and the version of what is in it.
FORMAT, VERSION = "msg-gan", 1


def save_snapshot(
    path: Path,
    networks: Mapping[str, Generator | Discriminator],
    spec: ImageSpec,
    cur_nimg: int | None,
    origin: str = "",
) -> None:
    """Write the networks (some of `G`, `D`, `G_ema`) to a file, whole or not at all.

    Tensors are named `G_ema.synthesis.b4...`. The metadata has one entry, `msg-gan`, so that the same networks give the
    same bytes. It is JSON with the version, the configs of G and D (null if absent), the ImageSpec, cur_nimg, and
    `origin`, the file that the networks were converted from.
    """
    # Copies, since safetensors refuses tensors that share memory, as flattened parameters do.
    tensors = {
        f"{name}.{key}": t.detach().cpu().clone().contiguous()
        for name, net in networks.items()
        for key, t in net.state_dict().items()
    }

    # What is needed to build the networks again; G and G_ema share a config.
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
