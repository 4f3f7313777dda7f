"""Detectors against torch-fidelity's own modules, from weight files of its form; and what is told of wrong files."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dnnlib.errors import UserError
from metrics.detectors import weights as weight_files
from metrics.detectors.detector import DETECTORS, Detector, DetectorOptions
from metrics.detectors.dinov2 import DINOv2
from metrics.detectors.resize import clean, legacy
from metrics.detectors.weights import INCEPTION, LPIPS_WEIGHTS, VGG
from tests.metrics import fidelity

CPU = torch.device("cpu")


def images(n=3, size=64, seed=0, channels=3):
    rng = np.random.default_rng(seed)
    small = torch.from_numpy(rng.integers(0, 256, (n, channels, 8, 8))).float()
    return F.interpolate(small, (size, size), mode="bicubic").clamp(0, 255).to(torch.uint8)


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


def ours(name, folder, **options):
    return Detector(name, DetectorOptions(detector_dir=folder, **options), CPU)


def assert_close(found, expected, tolerance):
    scale = expected.abs().max()
    assert scale > 1e-3 and expected.std() > 1e-4 * scale
    assert (found - expected).abs().max() <= tolerance * scale


@pytest.mark.parametrize("size", [64, 299, 400])
def test_inception_is_that_of_torch_fidelity(weights, size):
    theirs = fidelity.load("feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
        "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights / INCEPTION.name)
    )
    x = images(2, size)
    expected, logits = theirs(x)
    features, unbiased = ours("inception", weights)(x)
    assert_close(features, expected, 1e-5)
    assert_close(unbiased, logits, 1e-5)


def test_inception_in_bf16_is_near(weights):
    x = images(2)
    exact, _ = ours("inception", weights)(x)
    rough, _ = ours("inception", weights, precision="bf16")(x)
    assert_close(rough, exact, 0.05)


def test_vgg16_is_that_of_torch_fidelity(weights):
    theirs = fidelity.load("feature_extractor_vgg16").FeatureExtractorVGG16
    module = theirs("vgg16", ["fc2_relu"], feature_extractor_weights_path=str(weights / VGG.name))
    x = images(2)
    assert_close(ours("vgg16", weights)(x)[0], module(x)[0], 1e-5)


def test_lpips_is_that_of_torch_fidelity(weights, monkeypatch):
    theirs = fidelity.load("sample_similarity_lpips")
    vgg = fidelity.vgg16()
    vgg.load_state_dict(torch.load(weights / VGG.name))
    monkeypatch.setattr(theirs, "torchvision_load_pretrained_vgg16", lambda **_: vgg)
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *a, **k: torch.load(weights / LPIPS_WEIGHTS.name))
    a, b = images(3), images(3, seed=1)
    expected = theirs.SampleSimilarityLPIPS("lpips")(a, b)
    lpips = ours("lpips", weights)
    assert_close(lpips(a, b)[0], expected.flatten(), 1e-5)
    assert lpips(a, a)[0].abs().max() == 0


def dino_by_definition(state, x, heads, grid, patch):
    """The network written out once more, in float64, with torch's own attention."""
    s = {k: v.double() for k, v in state.items()}
    mean, std = torch.tensor([0.485, 0.456, 0.406]).double(), torch.tensor([0.229, 0.224, 0.225]).double()
    x = (x.double() / 255 - mean[:, None, None]) / std[:, None, None]
    n, _, h, _ = x.shape
    dim = s["cls_token"].shape[-1]
    patches = F.unfold(x, patch, stride=patch).transpose(1, 2)  # [N,T,3*patch*patch]
    tokens = patches @ s["patch_embed.proj.weight"].flatten(1).T + s["patch_embed.proj.bias"]
    square = s["pos_embed"][:, 1:].reshape(1, grid, grid, dim).permute(0, 3, 1, 2)
    k = h // patch
    position = (
        F.interpolate(square, scale_factor=((k + 0.1) / grid,) * 2, mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    )
    tokens = torch.cat([(s["cls_token"] + s["pos_embed"][:, :1]).expand(n, -1, -1), tokens + position], 1)
    for i in range(sum(name.endswith("ls1.gamma") for name in s)):
        p = {name.removeprefix(f"blocks.{i}."): v for name, v in s.items() if name.startswith(f"blocks.{i}.")}
        y = F.layer_norm(tokens, (dim,), p["norm1.weight"], p["norm1.bias"], 1e-6).transpose(0, 1)
        y, _ = F.multi_head_attention_forward(
            y, y, y, dim, heads, p["attn.qkv.weight"], p["attn.qkv.bias"], None, None, False, 0.0,
            p["attn.proj.weight"], p["attn.proj.bias"], need_weights=False,
        )  # fmt: skip
        tokens = tokens + y.transpose(0, 1) * p["ls1.gamma"]
        y = F.layer_norm(tokens, (dim,), p["norm2.weight"], p["norm2.bias"], 1e-6)
        y = F.gelu(y @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"]) @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"]
        tokens = tokens + y * p["ls2.gamma"]
    return F.layer_norm(tokens, (dim,), s["norm.weight"], s["norm.bias"], 1e-6)[:, 0]


def test_dinov2_by_definition():
    net = DINOv2(dim=48, depth=3, heads=4, grid=9)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=g) * (p[0].numel() ** -0.5 if p.ndim > 1 else 0.5))
    x = images(2, 224).float()
    expected = dino_by_definition(net.state_dict(), x, 4, 9, 14)
    assert_close(net(x), expected, 1e-5)


def test_dinov2_has_the_tensors_of_vit_l_14():
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in DINOv2().state_dict().items()}
    assert shapes["pos_embed"] == (1, 1370, 1024) and shapes["patch_embed.proj.weight"] == (1024, 3, 14, 14)
    assert shapes["blocks.23.attn.qkv.weight"] == (3072, 1024) and shapes["blocks.23.mlp.fc2.weight"] == (1024, 4096)
    assert shapes["mask_token"] == (1, 1024) and shapes["blocks.0.ls2.gamma"] == (1024,)
    assert len(shapes) == 7 + 24 * 14


@pytest.mark.parametrize("size", [8, 64, 300, 512])
def test_legacy_resize_is_that_of_torch_fidelity(size):
    theirs = fidelity.load("interpolate_compat_tensorflow").interpolate_bilinear_2d_like_tensorflow1x
    x = images(2, size)
    expected = theirs(x.float(), size=(299, 299), align_corners=False)
    assert (legacy(x, 299) - expected).abs().max() < 2e-4  # of 255


@pytest.mark.parametrize("size", [32, 299, 512])
def test_clean_resize_is_that_of_pillow(size):
    """clean-fid: each channel as float, bicubic, antialiased."""
    x = images(1, size)
    channels = [Image.fromarray(c.astype(np.float32)) for c in x[0].numpy()]
    expected = np.stack([np.asarray(c.resize((299, 299), Image.Resampling.BICUBIC)) for c in channels]).clip(0, 255)
    assert np.abs(clean(x, 299)[0].numpy() - expected).max() < 2e-3  # of 255


def test_each_detector_resizes_as_its_published_figures_did(weights, monkeypatch):
    small = DETECTORS["dinov2"]._replace(build=lambda: DINOv2(dim=32, depth=1, heads=2))
    monkeypatch.setitem(DETECTORS, "dinov2", small)
    x = images(2, 300)
    options = [DetectorOptions(random_detectors=True, resize=r) for r in (None, "clean", "legacy")]
    usual, same, other = (Detector("dinov2", o, CPU) for o in options)
    assert usual.facts["resize"] == same.facts["resize"] == "clean" and other.facts["resize"] == "legacy"
    assert torch.equal(usual(x)[0], same(x)[0]) and not torch.allclose(usual(x)[0], other(x)[0])


def test_bf16_leaves_resizing_and_path_lengths_alone(weights):
    x = images(2)
    y = (x.float() + 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    found = [Detector("lpips", DetectorOptions(detector_dir=weights, precision=p), CPU) for p in ("fp32", "bf16")]
    assert torch.equal(found[0](x, y)[0], found[1](x, y)[0]) and found[1].facts["precision"] == "fp32"
    inception = Detector("inception", DetectorOptions(detector_dir=weights, precision="bf16"), CPU)
    seen = []
    inception.module.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    inception(x)
    assert torch.equal(seen[0], legacy(x, 299))


def test_gray_images_are_seen_as_rgb(weights):
    gray = images(2, channels=1)
    inception = ours("inception", weights)
    assert torch.equal(inception(gray)[0], inception(gray.expand(-1, 3, -1, -1))[0])
    with pytest.raises(UserError, match="images of 4 channels, expected 1 or 3"):
        inception(images(1, channels=4))


def test_facts_tell_the_weights(weights):
    facts = ours("inception", weights).facts
    assert facts["weights"] == "not the published ones" and facts["file"] == INCEPTION.name
    assert facts["sha256"] == weight_files.sha256(weights / INCEPTION.name) and facts["resize"] == "legacy"
    random = Detector("inception", DetectorOptions(random_detectors=True), CPU)
    assert random.facts["weights"] == "random"
    again = Detector("inception", DetectorOptions(random_detectors=True), CPU)
    assert torch.equal(random(images())[0], again(images())[0])


def test_missing_and_wrong_files_are_told(weights, tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"no such file, expected the weights of inception: download https://github\.com"
    ):
        ours("inception", tmp_path)
    (tmp_path / INCEPTION.name).write_bytes((weights / LPIPS_WEIGHTS.name).read_bytes())
    with pytest.raises(UserError, match="not the weights of inception: missing"):
        ours("inception", tmp_path)
    state = torch.load(weights / INCEPTION.name)
    state["fc.weight"] = torch.zeros(1000, 2048)
    torch.save(state, tmp_path / INCEPTION.name)
    with pytest.raises(UserError, match=r"fc\.weight is \[1000, 2048\], expected \[1008, 2048\]"):
        ours("inception", tmp_path)
    (tmp_path / INCEPTION.name).write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"weights-inception-2015-12-05-6726825d\.pth"):
        ours("inception", tmp_path)
    monkeypatch.setenv(weight_files.ENVIRONMENT, str(weights))
    assert ours("inception", None).facts["file"] == INCEPTION.name


def test_cached_weights_must_be_the_published_ones(weights, tmp_path, monkeypatch):
    monkeypatch.delenv(weight_files.ENVIRONMENT, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / INCEPTION.name).write_bytes((weights / INCEPTION.name).read_bytes())
    with pytest.raises(UserError, match="expected one that begins with 6726825d"):
        ours("inception", None)


def test_a_failed_download_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv(weight_files.ENVIRONMENT, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        weight_files, "fetch", lambda url, path: (_ for _ in ()).throw(UserError(f"{url}: cannot download"))
    )
    with pytest.raises(UserError, match=r"its weights are not available: .*--detector-dir or MSG_GAN_DETECTORS"):
        ours("inception", None)


@pytest.mark.parametrize(
    ("options", "message"), [({"resize": "x"}, "--resize x"), ({"precision": "x"}, "--precision x")]
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        DetectorOptions(**options)
