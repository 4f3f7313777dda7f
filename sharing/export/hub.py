"""A repository for the Hugging Face Hub: the network with a model card, samples and configuration."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import atomic, make_dir, read_json
from dnnlib.hub import HubAddress, hub_errors, hub_library
from dnnlib.images import encode, sheet
from generation.networks import DEFAULT
from generation.sampling import Sampler, SamplingOptions
from metrics.result_files import read_results
from metrics.results import Result
from pretrained.bmsg_gan import ORIGIN as BMSG_GAN
from pretrained.loading import HUB_NAME
from pretrained.network_file import NetworkFile
from pretrained.tf_networks import ORIGINS
from training.config import as_dict
from training.networks.architectures import ARCHITECTURES
from training.run.snapshot import save_snapshot

SAMPLES, CONFIG, CARD = "samples.png", "config.json", "README.md"
COLUMNS, ROWS = 8, 4
MOST_PIXELS = 4096  # width of the sheet

# Whose work the network that ships with the project learned from.
DEFAULT_NETWORK = str(DEFAULT)
CREDITS = (
    "Trained on drawings of [Robohash.org](https://robohash.org) by Zikri Kader, Hrvoje Novakovic, Julian Peter Arias"
    " and David Revoy (CC-BY), and of [avataaars.com](https://avataaars.com/) by Pablo Stanley."
)

PRIVATE = ("data", "result_dir", "resume", "init")  # options of a run that name files

# The licences of networks that were trained with the originals' code, by what wrote their files.
LICENCES = {BMSG_GAN: "mit", **dict.fromkeys(ORIGINS.values(), "cc-by-nc-4.0")}


class Upload(NamedTuple):
    """What a repository tells about its network."""

    net: NetworkFile
    place: Path
    """The network's file, whose run dir is asked for scores and options."""
    licence: str | None
    """Identifier of the licence as the Hub writes it, e.g. cc-by-4.0."""

    @property
    def run_config(self) -> dict[str, Any] | None:
        """The options of the run that the file belongs to."""
        path = self.place.parent / "config.json"
        found = read_json(path, "that of a run") if path.is_file() else None
        return found if isinstance(found, dict) else None

    @property
    def results(self) -> list[Result]:
        """The newest result of each metric that was measured on this file."""
        paths = sorted(self.place.parent.glob("metric-*.jsonl"))
        newest = {
            result.metric: result
            for path in paths
            for result in read_results(path)
            if result.snapshot == self.place.name
        }
        return list(newest.values())


def describe(net: NetworkFile, place: Path, licence: str | None) -> Upload:
    """Return what a repository tells about a network.

    Raises UserError if the network comes from a file of the originals, and the licence is another than theirs.
    """
    inherited = LICENCES.get(net.origin)
    if inherited is not None and licence not in (None, inherited):
        raise UserError(f"--licence {licence}: this network was made with {net.origin}, whose licence is {inherited}")
    return Upload(net, place, licence or inherited)


def write_repository(upload: Upload, folder: Path, repo: str, all_networks: bool) -> None:
    """Write the files of a repository into a folder.

    all_networks: whether D and G are handed on as well, which training can start from, or only the moving average of G.
    """
    net = upload.net
    parts = {name: part.build() for name, part in net.parts.items()} if all_networks else {"G_ema": net.generator()}
    save_snapshot(folder / HUB_NAME, parts, net.spec, net.cur_nimg, net.origin)

    # Folders of this machine are nobody's business.
    run = {key: value for key, value in (upload.run_config or {}).items() if key not in PRIVATE}
    config = {"G": as_dict(net.generator().cfg), **run}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    (folder / SAMPLES).write_bytes(encode(_samples(net), ".png"))
    (folder / CARD).write_text(card(upload, repo), encoding="utf-8")


def card(upload: Upload, repo: str) -> str:
    """Return the model card: metadata that the Hub reads, and text for people."""
    hub = hub_library()
    G, net = upload.net.generator(), upload.net
    dataset = Path((upload.run_config or {}).get("data") or "unknown").name
    metadata = hub.ModelCardData(
        license=upload.licence,
        library_name="msg-gan",
        pipeline_tag="unconditional-image-generation",
        tags=["gan", "msg-gan", G.cfg.kind],
        model_name=repo,
        eval_results=[
            hub.EvalResult(
                task_type="unconditional-image-generation",
                dataset_type="image-folder",
                dataset_name=dataset,
                metric_type=result.metric,
                metric_value=result.value,
            )
            for result in upload.results
        ]
        or None,
    )

    spec = net.spec
    last_seed = _columns(spec.width) * ROWS - 1
    classes = f", {spec.c_dim} classes" if spec.c_dim else ""
    trained = "" if net.cur_nimg is None else f" It was trained for {net.cur_nimg / 1000:g} kimg."
    architecture = ARCHITECTURES[G.cfg.kind].title
    rows = "".join(f"| `{result.metric}` | {result.value:.5g} | {_conditions(result)} |\n" for result in upload.results)
    scores = f"## Scores\n\n| metric | value | measured with |\n|---|---|---|\n{rows}\n" if rows else ""
    licence = f"`{upload.licence}`" if upload.licence else "The licence of these weights has not been stated."
    licence += f"\n\n{CREDITS}" if str(upload.place) == DEFAULT_NETWORK else ""
    return f"""---
{metadata.to_yaml()}
---

# {repo.rpartition("/")[2]}

A generator of images of {spec.size_text} pixels, {spec.channels} channels{classes}:
{architecture}, a multi-scale-gradient GAN ([MSG-GAN, CVPR 2020](https://arxiv.org/abs/1903.06048)).{trained}

![Samples of seeds 0 to {last_seed}, none selected]({SAMPLES})

*Samples of seeds 0 to {last_seed}, none selected, with the network's own truncation.*

## Use

```
python generate.py images --network hf://{repo} --seeds 0-15
```

```python
from pretrained import load_network

G = load_network("hf://{repo}").G_ema
```

{scores}## Configuration

[{CONFIG}]({CONFIG}) has the options of the network{" and of its training" if upload.run_config else ""}.

## Licence

{licence}
"""


def check_token(address: HubAddress) -> None:
    """Raise UserError unless there is a token to upload with."""
    if hub_library().get_token() is None:
        raise UserError(f"{address}: no token for the Hub: log in with `hf auth login`, or set HF_TOKEN")


def push(address: HubAddress, folder: Path, private: bool, message: str) -> str:
    """Upload a folder, create the repository if need be, and return its address on the web."""
    api = hub_library().HfApi(library_name="msg-gan")
    with hub_errors(str(address)):
        url = api.create_repo(address.repo, private=private, exist_ok=True)
        if private and not api.repo_info(address.repo).private:
            raise UserError(f"{address}: --private: the repository exists and is public")
        api.upload_folder(repo_id=address.repo, folder_path=folder, commit_message=message)
    return str(url)


def download(address: HubAddress, folder: Path) -> None:
    """Download all files of a repository into a new folder, whole or not at all."""
    make_dir(folder.parent)
    with atomic(folder) as temporary:
        with hub_errors(str(address)):
            hub_library().snapshot_download(address.repo, revision=address.revision, local_dir=temporary)
        shutil.rmtree(temporary / ".cache", ignore_errors=True)  # huggingface_hub's notes of the download


def _columns(width: int) -> int:
    """Return the number of columns of the sheet: fewer of large images."""
    return max(1, min(COLUMNS, MOST_PIXELS // width))


def _samples(net: NetworkFile) -> np.ndarray:
    """Return a sheet of samples, uint8 [C,H,W]."""
    sampler = Sampler(SamplingOptions(), net.generator())
    columns = _columns(sampler.sizes[-1][1])
    count = columns * ROWS
    return sheet(np.stack([sample.images[-1] for sample in sampler.draw(sampler.latents(range(count)))]), columns)


def _conditions(result: Result) -> str:
    """Return what readers need to compare a score with others."""
    names = {"num_fakes": "generated images", "num_reals": "real images"}
    texts = [f"{result.facts[key]:,} {name}" for key, name in names.items() if key in result.facts]
    return ", ".join(texts)
