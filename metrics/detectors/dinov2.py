"""DINOv2 ViT-L/14 (Oquab et al. 2023), whose class token Stein et al. 2023 found to agree with people where Inception
does not (FD-DINOv2). Tensor names are those of the authors' weight file."""

import torch
import torch.nn.functional as F
from torch import nn

from metrics.detectors.vgg import imagenet


class Scale(nn.Module):
    """LayerScale (Touvron et al. 2021): one factor per channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


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


class MLP(nn.Module):
    """Two layers with GELU: [N,T,dim] -> [N,T,dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention and MLP, each normalised before, scaled behind, and added."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.mlp = MLP(dim)
        self.ls1 = Scale(dim)
        self.ls2 = Scale(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Patches(nn.Module):
    """Linear map of each patch: [N,3,h,w] -> [N,h/14*w/14,dim]."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class DINOv2(nn.Module):
    """Images [N,3,224,224], float 0 to 255, to the normalised class token [N,dim]. Positions were learnt on a grid of
    37x37 patches and are scaled bicubically to that of the image, as the authors do it."""

    def __init__(self, dim: int = 1024, depth: int = 24, heads: int = 16, patch: int = 14, grid: int = 37) -> None:
        super().__init__()
        self.grid = grid
        self.patch = patch

        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of the file; used in training only
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, dim))
        self.patch_embed = Patches(dim, patch)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def positions(self, h: int, w: int) -> torch.Tensor:
        """Return the positions [1,1+h*w,dim] of a grid of h x w patches."""
        if h == w == self.grid:
            return self.pos_embed

        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        square = rest.reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)  # [1,dim,grid,grid]
        factor = ((h + 0.1) / self.grid, (w + 0.1) / self.grid)  # 0.1 as the authors', against rounding down
        scaled = F.interpolate(square.float(), scale_factor=factor, mode="bicubic")  # [1,dim,h,w]
        return torch.cat([first, scaled.permute(0, 2, 3, 1).flatten(1, 2).to(rest.dtype)], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        tokens = self.patch_embed(imagenet(x))  # [N,T,dim]
        tokens = torch.cat([self.cls_token.expand(n, -1, -1), tokens], 1)  # [N,1+T,dim]
        tokens = tokens + self.positions(h // self.patch, w // self.patch)

        for block in self.blocks:
            tokens = block(tokens)  # [N,1+T,dim]
        return self.norm(tokens)[:, 0].float()  # type: ignore[no-any-return]
