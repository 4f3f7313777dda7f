"""Print all metrics of a small generator: `ranks.py PROCESSES DATASET NETWORK PREVIOUS`."""

import sys
from pathlib import Path

import torch

from dnnlib import distributed
from dnnlib.launch import launch
from metrics.catalog import choose
from metrics.path_length import path_length
from metrics.samples import Fakes
from pretrained import load_network
from tests.metrics.helpers import Few, context
from training.data.dataset import open_dataset


def work(argument):
    torch.set_num_threads(1)
    distributed.init(torch.device("cpu"))
    dataset, G = open_dataset(Path(sys.argv[2])), load_network(sys.argv[3]).generator()
    fakes = Fakes(G, torch.device("cpu"), labels=dataset.labels)
    before = load_network(sys.argv[4]).generator()
    loaded = {"inception": Few(), "vgg16": Few()}
    ctx = context(fakes, dataset, batch=4, mirror=True, loaded=loaded, previous=lambda: before)
    names = "fid10,fid10_full,kid10,is10,pr1k3,swd26,msssim16,ppl2_wend10,stability5,consistency11"
    for chosen in choose(names):
        n = min(chosen.n, 20)
        values = chosen.metric.compute(ctx, n=n).values
        if distributed.is_main():
            print(chosen.name, *[repr(float(v)) for v in values.values()], flush=True)
    z = path_length(ctx, 6, "z", "full", crop=False)
    if distributed.is_main():
        print("zfull", repr(z.values["ppl"]))
    distributed.shutdown()


if __name__ == "__main__":
    sys.exit(launch(work, None, int(sys.argv[1])))
