"""Networks for other images do what the old ones did, with channels converted and classes ignored."""

from dataclasses import replace

import pytest
import torch

from training import pyramid
from training.adaptation import adaptation, converted_channels
from training.networks.architectures import build_discriminator, build_generator
from training.networks.config import (
    DiscriminatorConfig,
    GeneratorConfig,
    ProGANDiscriminatorConfig,
    ProGANGeneratorConfig,
    R3GANDiscriminatorConfig,
    R3GANGeneratorConfig,
)
from training.spec import ImageSpec
from training.warm_start import InitialWeights, copy_fitting, fitting, table

STYLE = {"fmap_base": 64, "fmap_max": 8}
CONFIGS = {
    "msg_stylegan": (
        GeneratorConfig(
            z_dim=8, w_dim=8, mapping_fmaps=8, mapping_layers=2, normalize_z=False, use_noise=False, **STYLE
        ),
        DiscriminatorConfig(mbstd_num_features=0, **STYLE),
    ),
    "msg_progan": (
        ProGANGeneratorConfig(z_dim=8, normalize_z=False),
        ProGANDiscriminatorConfig(features=8),
    ),
    "cat_lin": (
        ProGANGeneratorConfig(z_dim=8, normalize_z=False),
        ProGANDiscriminatorConfig(features=8, combine="cat_lin"),
    ),
    "msg_r3gan": (
        R3GANGeneratorConfig(z_dim=8, **STYLE),
        R3GANDiscriminatorConfig(label_head="switch", **STYLE),
    ),
    "projection": (
        R3GANGeneratorConfig(z_dim=8, use_wscale=True, **STYLE),
        R3GANDiscriminatorConfig(use_wscale=True, **STYLE),
    ),
}


def pair(name, old, new):
    """G and D for old images, and those for new ones that start from them."""
    g, d = CONFIGS[name]
    before = build_generator(g, old).double(), build_discriminator(d, old).double()
    after = build_generator(g, new).double(), build_discriminator(d, new).double()
    for net in (*before, *after):
        for p in net.parameters():
            if p.ndim == 1 or not p.any():
                torch.nn.init.normal_(p, std=0.1)
    tables = {"G": before[0].state_dict(), "D": before[1].state_dict()}
    weights = InitialWeights(
        "old", {k: {n: tuple(t.shape) for n, t in v.items()} for k, v in tables.items()}, old.c_dim, None, tables.get
    )
    for role, net in zip("GD", after, strict=True):
        copy_fitting(net, weights, role)
        label = {"mapping.label_weight"} if role == "G" and new.c_dim and not old.c_dim else set()
        assert set(net.state_dict()) - fitting(net, weights, role) == label
    return (*before, *after, weights)


def converted(images, channels):
    """Images with other channels; new alpha is opaque."""
    result = torch.einsum("oc,nchw->nohw", converted_channels(images.shape[1], channels).double(), images)
    if channels in (2, 4) and images.shape[1] not in (2, 4):
        result[:, -1] = 1
    return result


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3), (3, 4), (4, 3), (1, 2), (4, 1), (3, 5)])
def test_other_channels(name, old, new):
    size = {"resolution": 16}
    G, D, other_G, other_D, _ = pair(name, ImageSpec(channels=old, **size), ImageSpec(channels=new, **size))
    z = torch.randn(4, 8, dtype=torch.float64)
    for there, here in zip(G(z), other_G(z), strict=True):
        torch.testing.assert_close(here, converted(there, new))

    # Alpha that was not there before does not count, and alpha that has gone is 0 to D.
    images = pyramid.from_images(torch.randn(4, new, 16, 16, dtype=torch.float64))
    back = converted_channels(new, old).double()
    as_before = tuple(torch.einsum("oc,nchw->nohw", back, x) for x in images)
    torch.testing.assert_close(other_D(images), D(as_before))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("old", "new"), [(0, 3), (3, 0), (2, 5)])
def test_other_classes(name, old, new):
    before, after = ImageSpec(resolution=16, c_dim=old), ImageSpec(resolution=16, c_dim=new)
    G, D, other_G, other_D, weights = pair(name, before, after)
    z = torch.randn(4, 8, dtype=torch.float64)
    if 0 in (old, new):
        # With classes that there were none of before, G ignores them at first; without them, it draws what it drew
        # without a label.
        c = [torch.eye(n, dtype=torch.float64)[:1].repeat(4, 1) if n and not old else None for n in (old, new)]
        torch.testing.assert_close(other_G(z, c[1]), G(z, c[0]))
    else:
        # Every new class is drawn as the mean of the old ones.
        mean, new_label = torch.full((4, old), 1 / old, dtype=torch.float64), torch.eye(new, dtype=torch.float64)
        torch.testing.assert_close(other_G(z, new_label[[4] * 4]), G(z, mean))

    # Every class is scored alike, as the mean of the old ones.
    images = pyramid.from_images(torch.randn(4, 3, 16, 16, dtype=torch.float64))
    scores = [
        other_D(images, torch.eye(new, dtype=torch.float64)[[k] * 4] if new else None) for k in range(max(new, 1))
    ]
    torch.testing.assert_close(scores, [scores[0]] * len(scores))
    of_old = [D(images, torch.eye(old, dtype=torch.float64)[[k] * 4] if old else None) for k in range(max(old, 1))]
    torch.testing.assert_close(scores[0], torch.stack(of_old).mean(0))
    assert any(line.endswith(": adapted") for line in table(other_D, weights, "D"))


@pytest.mark.parametrize(("old_head", "new_head"), [("switch", "projection"), ("projection", "switch")])
@pytest.mark.parametrize("name", ["msg_stylegan", "msg_progan", "msg_r3gan"])
def test_another_head(name, old_head, new_head):
    cfg, images = CONFIGS[name][1], pyramid.from_images(torch.randn(4, 3, 16, 16, dtype=torch.float64))

    def scores(network, classes):
        labels = torch.eye(classes, dtype=torch.float64)
        return torch.stack([network(images, labels[[k] * 4]) for k in range(classes)])

    def started(classes):
        spec = ImageSpec(resolution=16, c_dim=classes)
        network = build_discriminator(replace(cfg, label_head=new_head), spec).double()
        copy_fitting(network, weights, "D")
        return scores(network, classes)

    # The score of each class stays.
    old = build_discriminator(replace(cfg, label_head=old_head), ImageSpec(resolution=16, c_dim=3)).double()
    state = old.state_dict()
    weights = InitialWeights("old", {"D": {n: tuple(t.shape) for n, t in state.items()}}, 3, None, {"D": state}.get)
    before = scores(old, 3)
    torch.testing.assert_close(started(3), before)

    # A head of other classes starts from the mean, even if it has as many rows: a switch of 4, a projection of 2.
    classes = 4 if new_head == "switch" else 2
    torch.testing.assert_close(started(classes), before.mean(0).expand(classes, -1, -1))


def test_what_does_not_follow_from_images_starts_afresh():
    for key, there, here in (
        ("synthesis.b8.layer1.source.weight", (8, 8, 3, 3), (16, 8, 3, 3)),
        ("mapping.fc0.weight", (8, 8), (8, 24)),
        ("synthesis.torgb8.weight", (3, 8, 1, 1), (1, 16, 1, 1)),
        ("b8.fromrgb.weight", (8, 3), (8, 1, 1, 1)),
        ("mapping.label_weight", (3, 8), (5, 16)),
    ):
        assert adaptation(key, there, here, use_wscale=True) is None
