"""Weight files of the published form."""

import math

import pytest
import torch

from metrics.detectors.detector import DETECTORS
from metrics.detectors.weights import INCEPTION, LPIPS_WEIGHTS, VGG
from tests.metrics import fidelity


def randomize(module, seed=0):
    """Random weights that keep activations in range, and normalisation that does something."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)):
                fan = m.weight[0].numel()
                m.weight.copy_(torch.randn(m.weight.shape, generator=g) * math.sqrt(2 / fan))
                if m.bias is not None:
                    m.bias.copy_(torch.randn(m.bias.shape, generator=g) * 0.1)
            elif isinstance(m, torch.nn.BatchNorm2d):
                for t, low in ((m.weight, 0.5), (m.bias, -0.5), (m.running_mean, -0.5), (m.running_var, 0.5)):
                    t.copy_(torch.rand(t.shape, generator=g) + low)
    return module


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with files of the published form: random weights."""
    folder = tmp_path_factory.mktemp("weights")
    theirs = fidelity.load("feature_extractor_inceptionv3")
    with pytest.MonkeyPatch.context() as patch:  # its constructor wants to load weights
        patch.setattr(theirs, "load_state_dict_from_url", lambda *a, **k: blank_state(theirs))
        module = theirs.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"])
    torch.save(randomize(module).state_dict(), folder / INCEPTION.name)
    vgg = randomize(fidelity.vgg16(), 1)
    torch.save(vgg.state_dict(), folder / VGG.name)
    lins = {f"lin{k}.model.1.weight": torch.rand(1, n, 1, 1) for k, n in enumerate((64, 128, 256, 512, 512))}
    torch.save(lins, folder / LPIPS_WEIGHTS.name)
    return folder


def blank_state(theirs):
    """A state dict of the right form, from our names."""
    ours = DETECTORS["inception"].build().state_dict()
    return {k: torch.zeros_like(v) for k, v in ours.items()}
