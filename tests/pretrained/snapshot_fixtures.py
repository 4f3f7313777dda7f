"""Fixtures: small networks of three classes, and a snapshot of them."""

from dataclasses import replace

import pytest
import torch

import config
from training.networks.msg_stylegan import Discriminator, Generator
from training.run.snapshot import save_snapshot
from training.spec import ImageSpec

SPEC = ImageSpec(resolution=16, c_dim=3)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    cfg = replace(config.tiny(), G=replace(config.tiny().G, blur_filter=(1, 3, 3, 1)))
    nets = {"G": Generator(cfg.G, SPEC), "D": Discriminator(cfg.D, SPEC), "G_ema": Generator(cfg.G, SPEC)}
    for G in (nets["G"], nets["G_ema"]):
        torch.nn.init.normal_(G.mapping.w_avg)
        for layer in G.synthesis.layers():
            torch.nn.init.normal_(layer.noise_strength)
    return cfg, nets


@pytest.fixture
def snapshot(networks, tmp_path):
    _, nets = networks
    save_snapshot(tmp_path / "network-snapshot-000012.safetensors", nets, SPEC, 12345)
    return tmp_path / "network-snapshot-000012.safetensors"
