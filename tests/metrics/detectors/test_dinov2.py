"""DINOv2 against its definition."""

import torch
import torch.nn.functional as F

from metrics.detectors.dinov2 import DINOv2
from tests.metrics.detectors.helpers import assert_close, images


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
