"""InceptionV3 as FID uses it: the graph of 2015-12-05 (Szegedy et al. 2015), in which the original FID was defined
(Heusel et al. 2017). Tensor names are those of torch-fidelity's weight file.

It differs from torchvision's: 3x3 average pooling does not count the padding, the last block pools by maximum, and 1008
classes. Batch normalisation is folded into the convolutions after loading (`fold`).
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

Kernel = int | tuple[int, int]


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation with fixed statistics, ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fold(self) -> None:
        """Normalise through the weights and a bias instead; the arithmetic is done in float64."""
        if isinstance(self.bn, nn.Identity):
            return

        bn = self.bn
        weight = self.conv.weight.double()
        scale = bn.weight.double() / (bn.running_var.double() + bn.eps).sqrt()  # type: ignore[union-attr]
        bias = bn.bias.double() - bn.running_mean.double() * scale  # type: ignore[union-attr]

        dtype = self.conv.weight.dtype
        self.conv.weight = nn.Parameter((weight * scale[:, None, None, None]).to(dtype), requires_grad=False)
        self.conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
        self.bn = nn.Identity()  # type: ignore[assignment]


Step = Mapping[str, tuple[int, Kernel]]  # name -> (channels, kernel); several names: side by side, concatenated
Branch = list[Step]


class Mixed(nn.Module):
    """Branches side by side, concatenated: [N,n_in,h,w] -> [N,sum,h,w]. Stride-2 blocks end each branch with a stride-2
    convolution without padding and pool without a convolution behind: [N,n_in,h,w] -> [N,sum,h/2-1,w/2-1]."""

    def __init__(self, n_in: int, branches: list[Branch], pool: str, pool_out: int = 0) -> None:
        super().__init__()
        self.pool = pool
        self.stride = 1 if pool_out else 2
        self.branches: list[list[list[str]]] = []  # names of the layers of each step

        for branch in branches:
            n = n_in
            for step in branch:
                stride = self.stride if step is branch[-1] else 1
                for name, (n_out, kernel) in step.items():
                    setattr(self, name, ConvNorm(n, n_out, kernel, stride, _same(kernel) if stride == 1 else 0))
                n = sum(n_out for n_out, _ in step.values())
            self.branches.append([list(step) for step in branch])

        if pool_out:
            self.branch_pool = ConvNorm(n_in, pool_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for branch in self.branches:
            y = x
            for names in branch:
                parts = [self.get_submodule(name)(y) for name in names]
                y = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
            outputs.append(y)

        if self.stride == 2:
            pooled = F.max_pool2d(x, 3, 2)
        elif self.pool == "max":
            pooled = self.branch_pool(F.max_pool2d(x, 3, 1, 1))
        else:
            pooled = self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
        return torch.cat([*outputs, pooled], 1)


def _same(kernel: Kernel) -> Kernel:
    """Return the padding that keeps the size of images."""
    return kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)


def _a(n_in: int, pool_out: int) -> Mixed:
    """Build a block for 35x35 pixels."""
    return Mixed(n_in, [
        [{"branch1x1": (64, 1)}],
        [{"branch5x5_1": (48, 1)}, {"branch5x5_2": (64, 5)}],
        [{"branch3x3dbl_1": (64, 1)}, {"branch3x3dbl_2": (96, 3)}, {"branch3x3dbl_3": (96, 3)}],
    ], "avg", pool_out)  # fmt: skip


def _b() -> Mixed:
    """Build the block that reduces 35x35 to 17x17."""
    return Mixed(288, [
        [{"branch3x3": (384, 3)}],
        [{"branch3x3dbl_1": (64, 1)}, {"branch3x3dbl_2": (96, 3)}, {"branch3x3dbl_3": (96, 3)}],
    ], "max")  # fmt: skip


def _c(n: int) -> Mixed:
    """Build a block for 17x17 pixels with n channels in between."""
    return Mixed(768, [
        [{"branch1x1": (192, 1)}],
        [{"branch7x7_1": (n, 1)}, {"branch7x7_2": (n, (1, 7))}, {"branch7x7_3": (192, (7, 1))}],
        [{"branch7x7dbl_1": (n, 1)}, {"branch7x7dbl_2": (n, (7, 1))}, {"branch7x7dbl_3": (n, (1, 7))},
         {"branch7x7dbl_4": (n, (7, 1))}, {"branch7x7dbl_5": (192, (1, 7))}],
    ], "avg", 192)  # fmt: skip


def _d() -> Mixed:
    """Build the block that reduces 17x17 to 8x8."""
    return Mixed(768, [
        [{"branch3x3_1": (192, 1)}, {"branch3x3_2": (320, 3)}],
        [{"branch7x7x3_1": (192, 1)}, {"branch7x7x3_2": (192, (1, 7))}, {"branch7x7x3_3": (192, (7, 1))},
         {"branch7x7x3_4": (192, 3)}],
    ], "max")  # fmt: skip


def _e(n_in: int, pool: str) -> Mixed:
    """Build a block for 8x8 pixels."""
    return Mixed(n_in, [
        [{"branch1x1": (320, 1)}],
        [{"branch3x3_1": (384, 1)}, {"branch3x3_2a": (384, (1, 3)), "branch3x3_2b": (384, (3, 1))}],
        [{"branch3x3dbl_1": (448, 1)}, {"branch3x3dbl_2": (384, 3)},
         {"branch3x3dbl_3a": (384, (1, 3)), "branch3x3dbl_3b": (384, (3, 1))}],
    ], pool, 192)  # fmt: skip


class InceptionV3(nn.Module):
    """Images [N,3,299,299], float 0 to 255, to pool features [N,2048] and logits without their bias [N,1008]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, 1, 1)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3)
        self.Mixed_5b = _a(192, 32)
        self.Mixed_5c = _a(256, 64)
        self.Mixed_5d = _a(288, 64)
        self.Mixed_6a = _b()
        self.Mixed_6b = _c(128)
        self.Mixed_6c = _c(160)
        self.Mixed_6d = _c(160)
        self.Mixed_6e = _c(192)
        self.Mixed_7a = _d()
        self.Mixed_7b = _e(1280, "avg")
        self.Mixed_7c = _e(2048, "max")
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = (x - 128) / 128  # [N,3,299,299]
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [N,64,147,147]
        x = F.max_pool2d(x, 3, 2)  # [N,64,73,73]
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # [N,192,71,71]
        x = F.max_pool2d(x, 3, 2)  # [N,192,35,35]
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # [N,288,35,35]
        x = self.Mixed_6a(x)  # [N,768,17,17]
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))  # [N,768,17,17]
        x = self.Mixed_7a(x)  # [N,1280,8,8]
        x = self.Mixed_7c(self.Mixed_7b(x))  # [N,2048,8,8]
        features = x.float().mean((2, 3))  # [N,2048]
        return features, features @ self.fc.weight.float().T  # [N,1008]

    def fold(self) -> None:
        """Fold all batch normalisations into their convolutions."""
        for layer in self.modules():
            if isinstance(layer, ConvNorm):
                layer.fold()
