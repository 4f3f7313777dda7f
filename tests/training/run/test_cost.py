from dataclasses import replace

from config import tiny
from training.run.cost import estimate_cost
from training.spec import ImageSpec
from training.step_config import AugmentConfig


def test_operations_by_hand():
    """Sampling an 8x8 network: dense layers and convolutions, two operations a multiplication."""
    cfg = tiny()
    cfg = replace(cfg, precision="fp32", G=replace(cfg.G, mapping_layers=1, blur_filter=()))
    c, w = 16, 16  # feature maps at every resolution, width of z and w
    dense = w * w + 4 * w * 2 * c  # mapping and four styles
    conv = 9 * c * c * 16 + 16 * c * c * 16 + 9 * c * c * 64  # 4x4; 4x4 kernel at each of 16 inputs; 8x8
    torgb = 3 * c * (16 + 64)
    assert estimate_cost(cfg, ImageSpec(resolution=8)).sample_flops == 2 * (dense + conv + torgb)


def test_costs_are_ordered():
    spec = ImageSpec(resolution=8)
    every = estimate_cost(tiny(), spec)
    lazy = estimate_cost(replace(tiny(), loss=replace(tiny().loss, reg_interval=4)), spec)
    assert every.sample_flops < every.g_flops and lazy.d_flops < every.d_flops
    wider = replace(tiny(), G=replace(tiny().G, fmap_max=64, fmap_base=512))
    assert estimate_cost(wider, spec).peak_bytes > every.peak_bytes


def test_augmentation_takes_memory():
    cfg, spec = tiny(), ImageSpec(resolution=32)
    peaks = {
        name: estimate_cost(replace(cfg, augment=AugmentConfig(name=name)), spec).peak_bytes
        for name in ("none", "ada", "diffaugment")
    }
    assert peaks["none"] < min(peaks["ada"], peaks["diffaugment"])
