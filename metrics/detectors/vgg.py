"""VGG16 (Simonyan & Zisserman 2015) for precision and recall, and LPIPS (Zhang et al. 2018) on it for path lengths.
Tensor names are those of torchvision's and of the LPIPS authors' weight files."""

import torch
import torch.nn.functional as F
from torch import nn

CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0 = pool
TAPS = (3, 8, 15, 22, 29)  # the ReLU behind each of the five groups, by its place in `features`
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, values 0 to 1
LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # the same, values -1 to 1, as LPIPS has it


def _features() -> nn.Sequential:
    """Build the convolutional layers."""
    layers: list[nn.Module] = []
    n = 3
    for n_out in CHANNELS:
        if n_out:
            layers += [nn.Conv2d(n, n_out, 3, padding=1), nn.ReLU(inplace=True)]
            n = n_out
        else:
            layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


class VGG16(nn.Module):
    """Images [N,3,224,224], float 0 to 255, to the second fully connected layer behind its ReLU: [N,4096]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = _features()
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Identity(), nn.Linear(4096, 4096),
            nn.Identity(), nn.Identity(), nn.Linear(4096, 1000),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(imagenet(x))  # [N,512,7,7]
        x = torch.flatten(x, 1)  # [N,25088]
        return F.relu(self.classifier[3](self.classifier[1](self.classifier[0](x)))).float()  # [N,4096]


def imagenet(x: torch.Tensor) -> torch.Tensor:
    """Normalise values 0 to 255 to mean 0 and deviation 1 over ImageNet."""
    mean, std = (torch.tensor(v, device=x.device, dtype=x.dtype).mul(255)[:, None, None] for v in (MEAN, STD))
    return (x - mean) / std


class Weights(nn.Module):
    """One 1x1 convolution without bias, under the name that it has in the file."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Identity(), nn.Conv2d(n, 1, 1, bias=False))


class LPIPS(nn.Module):
    """Perceptual distance, version 0.1 with VGG16: pairs of images [N,3,h,w], float 0 to 255, to [N]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = _features()
        for k, n in enumerate((64, 128, 256, 512, 512)):
            setattr(self, f"lin{k}", Weights(n))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        shift = torch.tensor(LPIPS_SHIFT, device=a.device)[:, None, None]
        scale = torch.tensor(LPIPS_SCALE, device=a.device)[:, None, None]
        x = ((torch.cat([a, b]).float() * (2 / 255) - 1) - shift) / scale  # [2N,3,h,w]
        distance = x.new_zeros(len(a))
        for place, layer in enumerate(list(self.features)[: TAPS[-1] + 1]):
            x = layer(x)
            if place in TAPS:
                k = TAPS.index(place)
                unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)  # [2N,C,h',w']
                u, v = unit.chunk(2)
                weights = self.get_submodule(f"lin{k}").model[1].weight  # type: ignore[index,union-attr]
                distance = distance + F.conv2d((u - v).square(), weights).mean((1, 2, 3))
        return distance
