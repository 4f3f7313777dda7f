"""DINOv2 ViT-L/14 (Oquab et al. 2023), whose class token Stein et al. 2023 found to agree with people where Inception
does not (FD-DINOv2). Tensor names are those of the authors' weight file."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn

from metrics.detectors.vgg import imagenet


class Attention(nn.Module):
    """Multi-head self-attention [N,T,dim] -> [N,T,dim]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, dim = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)  # [N,heads,T,d]
        y = F.scaled_dot_product_attention(q, k, v)  # [N,heads,T,d]
        return self.proj(y.transpose(1, 2).reshape(n, t, dim))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and two layers with GELU, each normalised before, scaled behind and added: [N,T,dim] -> [N,T,dim]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(dim, 4 * dim), gelu=nn.GELU(), fc2=nn.Linear(4 * dim, dim)),
        )

        # LayerScale (Touvron et al. 2021): one factor per channel.
        self.ls1 = nn.ParameterDict({"gamma": torch.ones(dim)})
        self.ls2 = nn.ParameterDict({"gamma": torch.ones(dim)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x)) * self.ls1["gamma"]
        return x + self.mlp(self.norm2(x)) * self.ls2["gamma"]


class DINOv2(nn.Module):
    """Images [N,3,224,224], float 0 to 255, to the normalised class token [N,dim]. Positions were learnt on a grid of
    37x37 patches and are scaled bicubically to that of the image, as by the authors."""

    def __init__(self, dim: int = 1024, depth: int = 24, heads: int = 16, patch: int = 14, grid: int = 37) -> None:
        super().__init__()
        self.grid = grid

        # The mask token is part of the file, but only training uses it.
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, dim))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, patch)})
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def positions(self, h: int, w: int) -> torch.Tensor:
        """Return the positions [1,1+h*w,dim] of a grid of h x w patches."""
        if h == w == self.grid:
            return self.pos_embed

        # The authors add 0.1 lest the size of the result be rounded down.
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        square = rest.reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)  # [1,dim,grid,grid]
        factor = ((h + 0.1) / self.grid, (w + 0.1) / self.grid)
        scaled = F.interpolate(square.float(), scale_factor=factor, mode="bicubic")  # [1,dim,h,w]
        return torch.cat([first, scaled.permute(0, 2, 3, 1).flatten(1, 2).to(rest.dtype)], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed["proj"](imagenet(x))  # [N,dim,h,w]
        tokens = patches.flatten(2).transpose(1, 2)  # [N,T,dim]

        # The class token comes first.
        first = self.cls_token.expand(len(x), -1, -1)  # [N,1,dim]
        tokens = torch.cat([first, tokens], 1) + self.positions(*patches.shape[2:])  # [N,1+T,dim]

        for block in self.blocks:
            tokens = block(tokens)  # [N,1+T,dim]
        return self.norm(tokens)[:, 0].float()  # type: ignore[no-any-return]
