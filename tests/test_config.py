"""Presets: each names itself, fits the networks that it builds, and survives a round trip as config.json."""

from dataclasses import replace

import pytest

from config import PRESETS, Facts, auto
from training.config import TrainConfig, as_dict, from_dict
from training.spec import ImageSpec
from training.state import check_networks


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_builds_networks_and_can_be_written_down(name):
    cfg = PRESETS[name]()
    assert cfg.preset == name
    assert from_dict(TrainConfig, as_dict(cfg), name) == cfg

    G = check_networks(cfg, ImageSpec(resolution=cfg.resolution or 64))
    assert sum(p.numel() for p in G.parameters()) > 0


def test_the_published_settings():
    """Karnewar and Wang 2020, section 4: Adam 0.003, R1 with weight 10, 512 values in z, half-life of 10 kimg."""
    cfg = PRESETS["ffhq1024"]()
    assert (cfg.G_opt.lr, cfg.D_opt.lr, cfg.G_opt.beta1, cfg.G_opt.beta2) == (0.003, 0.003, 0.0, 0.99)
    assert (cfg.loss.name, cfg.loss.r1_gamma, cfg.G.z_dim, cfg.ema_kimg) == ("logistic", 10.0, 512, 10.0)
    assert (cfg.resolution, cfg.batch, cfg.micro_batch) == (1024, 16, 4)


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
@pytest.mark.parametrize("name", [name for name in PRESETS if PRESETS[name]().resolution])
def test_every_preset_runs_on_one_machine_of_any_size(name, gpus):
    cfg = PRESETS[name]()
    if cfg.batch % gpus == 0:
        cfg = replace(cfg, gpus=gpus)
        assert cfg.images_per_pass * cfg.micro_batches * gpus == cfg.batch


def test_batches_are_those_of_the_published_numbers_of_gpus():
    """msg-stylegan-tf: 4 images a step on 1 GPU, 32 on 2, 16 on 4, 32 on 8; its README has the GPUs of each dataset."""
    batches = {1: 4, 2: 32, 4: 16, 8: 32}
    gpus = {"ffhq1024": 4, "celebahq1024": 8, "churches256": 8, "flowers256": 2, "indian-celebs256": 4}
    assert {name: PRESETS[name]().batch for name in gpus} == {name: batches[n] for name, n in gpus.items()}


def test_the_modern_preset_has_the_widths_and_schedules_of_r3gan():
    """Huang et al. 2024, FFHQ-256: 768 maps up to 32x32, then 384, 192 and 96, 16 in each group; rates fall to a
    quarter, penalties to a tenth."""
    cfg = PRESETS["modern-ffhq256"]()
    assert [cfg.G.nf(level + 1) for level in range(7)] == [768, 768, 768, 768, 384, 192, 96]
    assert [cfg.D.group_size_of(2 * cfg.D.nf(level + 1)) for level in range(7)] == [16] * 7
    assert [cfg.G_opt.lr_after(nimg) for nimg in (0, 20_000_000)] == pytest.approx([2e-4, 5e-5])
    assert [cfg.loss.r1_gamma * cfg.loss.gamma_factor(nimg) for nimg in (0, 20_000_000)] == pytest.approx([150, 15])


def test_ablations_differ_from_the_published_network_in_what_they_are_named_after():
    full = PRESETS["add-noise-inputs"]().G
    assert full != PRESETS["remove-traditional-input"]().G
    assert not PRESETS["tuned-baseline"]().G.use_styles and PRESETS["tuned-baseline"]().G.mapping_layers == 0
    assert [PRESETS[f"mix{share}"]().loss.style_mixing_prob for share in (0, 50, 90, 100)] == [0, 0.5, 0.9, 1]


def facts(**changes):
    return Facts(
        **{"images": 2000, "resolution": 256, "c_dim": 0, "has_gpu": True, "gpus": 1, "has_init": False, **changes}
    )


@pytest.mark.parametrize("resolution", [12, 32, 64, 256, 1024])
@pytest.mark.parametrize("gpus", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("has_gpu", [False, True])
def test_auto_chooses_options_that_run(resolution, gpus, has_gpu):
    cfg, reasons = auto(facts(resolution=resolution, gpus=gpus, has_gpu=has_gpu))
    cfg = replace(cfg, gpus=gpus, data="x")
    check_networks(cfg, ImageSpec(resolution=resolution))
    assert from_dict(TrainConfig, as_dict(cfg), "auto") == cfg and cfg.preset == "auto"
    assert any("augment" in reason for reason in reasons) and cfg.augment.name == "ada"


def test_auto_follows_the_rules_that_it_names():
    """StyleGAN2-ADA's own numbers for 256x256 on one GPU: batch 16, gamma 0.8192, half-life 5 kimg."""
    cfg, _ = auto(facts())
    assert (cfg.batch, cfg.ema_kimg) == (16, 5) and cfg.loss.r1_gamma == pytest.approx(0.8192)
    many, reasons = auto(facts(images=140_000))
    assert many.augment.name == "none" and not any("augment" in reason for reason in reasons)
    assert auto(facts(has_init=True))[0].augment.kimg == 100

    # What was asked for counts in what follows from it.
    cfg, reasons = auto(facts(batch=64, total_kimg=200.0))
    assert (cfg.batch, cfg.ema_kimg, cfg.total_kimg, cfg.augment.kimg) == (64, 20, 200, 100)
    assert cfg.loss.r1_gamma == pytest.approx(0.2048) and "batch 64: as given" in reasons


@pytest.mark.parametrize("resolution", [32, 64, 128, 256])
def test_auto_has_as_many_feature_maps_at_the_largest_size_on_a_cpu(resolution):
    cfg, _ = auto(facts(resolution=resolution, has_gpu=False))
    level = len(ImageSpec(resolution=resolution).sizes) - 1
    assert cfg.G.nf(level + 1) >= 8 and cfg.D.nf(level + 1) >= 8
