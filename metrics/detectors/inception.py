"""InceptionV3 as FID uses it: the graph of 2015-12-05 (Szegedy et al. 2015), in which the original FID was defined
(Heusel et al. 2017). Tensor names are those of torch-fidelity's weight file.

It differs from torchvision's: 3x3 average pooling does not count the padding, the last block pools by maximum, and it
knows 1008 classes. Batch normalisation is folded into the convolutions after loading (`fold`).
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Kernel = int | tuple[int, int]

Step = Mapping[str, tuple[int, Kernel]]
"""Layers by name, each with its channels and kernel; several are applied side by side and concatenated."""

Branch = list[Step]


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation with fixed statistics, ReLU."""

    def __init__(self, n_in: int, n_out: int, kernel: Kernel, stride: int = 1, padding: int | str = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(n_out, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fold(self) -> None:
        """Normalise by the weights and a bias of the convolution instead; for evaluation only."""
        # The arithmetic is done in float64, so that it changes no feature beyond rounding.
        self.conv = fuse_conv_bn_eval(self.conv.double(), self.bn.double()).float()
        self.bn = nn.Identity()  # type: ignore[assignment]


class Mixed(nn.Module):
    """Branches side by side and a pool, concatenated: [N,n_in,h,w] -> [N,sum,h,w].

    A pool with `pool_out` channels has a convolution behind it. Without, the block reduces images: each branch ends
    with a convolution of stride 2 without padding, like the pool: [N,n_in,h,w] -> [N,sum,h/2-1,w/2-1].
    """

    def __init__(self, n_in: int, branches: list[Branch], pool: nn.Module, pool_out: int = 0) -> None:
        super().__init__()
        self.branches: list[list[list[str]]] = []  # names of the layers of each step
        for branch in branches:
            n = n_in
            for step in branch:
                reduces = not pool_out and step is branch[-1]
                stride, padding = (2, 0) if reduces else (1, "same")
                for name, (n_out, kernel) in step.items():
                    self.add_module(name, ConvNorm(n, n_out, kernel, stride, padding))
                n = sum(n_out for n_out, _ in step.values())
            self.branches.append([list(step) for step in branch])

        # Tensors of the file are named after layers, so these two have fixed names.
        self.pool = pool
        self.branch_pool = ConvNorm(n_in, pool_out, 1) if pool_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for branch in self.branches:
            y = x
            for names in branch:
                parts = [self.get_submodule(name)(y) for name in names]
                y = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
            outputs.append(y)
        return torch.cat([*outputs, self.branch_pool(self.pool(x))], 1)


def _average() -> nn.Module:
    """Build the pool of most blocks, which does not count the padding."""
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


# Branches of the blocks for 35x35 pixels, and of the block that reduces them to 17x17.
BLOCK_35: list[Branch] = [
    [{"branch1x1": (64, 1)}],
    [{"branch5x5_1": (48, 1)}, {"branch5x5_2": (64, 5)}],
    [{"branch3x3dbl_1": (64, 1)}, {"branch3x3dbl_2": (96, 3)}, {"branch3x3dbl_3": (96, 3)}],
]
BLOCK_35_TO_17: list[Branch] = [
    [{"branch3x3": (384, 3)}],
    [{"branch3x3dbl_1": (64, 1)}, {"branch3x3dbl_2": (96, 3)}, {"branch3x3dbl_3": (96, 3)}],
]


def block_17(n: int) -> list[Branch]:
    """Return the branches of a block for 17x17 pixels, with n channels in between."""
    return [
        [{"branch1x1": (192, 1)}],
        [{"branch7x7_1": (n, 1)}, {"branch7x7_2": (n, (1, 7))}, {"branch7x7_3": (192, (7, 1))}],
        [{"branch7x7dbl_1": (n, 1)}, {"branch7x7dbl_2": (n, (7, 1))}, {"branch7x7dbl_3": (n, (1, 7))},
         {"branch7x7dbl_4": (n, (7, 1))}, {"branch7x7dbl_5": (192, (1, 7))}],
    ]  # fmt: skip


# Branches of the block that reduces 17x17 pixels to 8x8, and of the blocks for 8x8.
BLOCK_17_TO_8: list[Branch] = [
    [{"branch3x3_1": (192, 1)}, {"branch3x3_2": (320, 3)}],
    [{"branch7x7x3_1": (192, 1)}, {"branch7x7x3_2": (192, (1, 7))}, {"branch7x7x3_3": (192, (7, 1))},
     {"branch7x7x3_4": (192, 3)}],
]  # fmt: skip
BLOCK_8: list[Branch] = [
    [{"branch1x1": (320, 1)}],
    [{"branch3x3_1": (384, 1)}, {"branch3x3_2a": (384, (1, 3)), "branch3x3_2b": (384, (3, 1))}],
    [{"branch3x3dbl_1": (448, 1)}, {"branch3x3dbl_2": (384, 3)},
     {"branch3x3dbl_3a": (384, (1, 3)), "branch3x3dbl_3b": (384, (3, 1))}],
]  # fmt: skip


class InceptionV3(nn.Module):
    """Images [N,3,299,299], float 0 to 255, to pool features [N,2048] and logits without their bias [N,1008]."""

    def __init__(self) -> None:
        super().__init__()

        # From 299x299 to 35x35 pixels.
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, 1, 1)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3)

        # 35x35 pixels.
        self.Mixed_5b = Mixed(192, BLOCK_35, _average(), 32)
        self.Mixed_5c = Mixed(256, BLOCK_35, _average(), 64)
        self.Mixed_5d = Mixed(288, BLOCK_35, _average(), 64)

        # 17x17 pixels.
        self.Mixed_6a = Mixed(288, BLOCK_35_TO_17, nn.MaxPool2d(3, 2))
        self.Mixed_6b = Mixed(768, block_17(128), _average(), 192)
        self.Mixed_6c = Mixed(768, block_17(160), _average(), 192)
        self.Mixed_6d = Mixed(768, block_17(160), _average(), 192)
        self.Mixed_6e = Mixed(768, block_17(192), _average(), 192)

        # 8x8 pixels.
        self.Mixed_7a = Mixed(768, BLOCK_17_TO_8, nn.MaxPool2d(3, 2))
        self.Mixed_7b = Mixed(1280, BLOCK_8, _average(), 192)
        self.Mixed_7c = Mixed(2048, BLOCK_8, nn.MaxPool2d(3, 1, 1), 192)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Reduce to 35x35 pixels.
        x = (x - 128) / 128  # [N,3,299,299]
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [N,64,147,147]
        x = F.max_pool2d(x, 3, 2)  # [N,64,73,73]
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))  # [N,192,71,71]
        x = F.max_pool2d(x, 3, 2)  # [N,192,35,35]

        # The blocks.
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # [N,288,35,35]
        x = self.Mixed_6a(x)  # [N,768,17,17]
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))  # [N,768,17,17]
        x = self.Mixed_7a(x)  # [N,1280,8,8]
        x = self.Mixed_7c(self.Mixed_7b(x))  # [N,2048,8,8]

        # Features are float32 also if the network runs in bfloat16.
        features = x.float().mean((2, 3))  # [N,2048]
        return features, features @ self.fc.weight.float().T  # [N,1008]

    def fold(self) -> None:
        """Fold all batch normalisations into their convolutions."""
        for layer in self.modules():
            if isinstance(layer, ConvNorm):
                layer.fold()
