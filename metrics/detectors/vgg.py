"""VGG16 (Simonyan & Zisserman 2015) for precision and recall, and LPIPS (Zhang et al. 2018) on it for path lengths.
Tensor names are those of torchvision's and of the LPIPS authors' weight files."""

import torch
import torch.nn.functional as F
from torch import nn

# Channels of the convolutional layers; 0 = pool.
CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)

# The ReLU behind each of the five groups: its place in `features`, and its channels.
TAPS = {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}

# Mean and deviation of ImageNet: of values 0 to 1, and of values -1 to 1 in LPIPS's own figures.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


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

        # The empty layers take the places of ReLU and dropout, whose numbers are part of the names of tensors.
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


class LPIPS(nn.Module):
    """Perceptual distance, version 0.1 with VGG16: pairs of images [N,3,h,w], float 0 to 255, to [N]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = _features()

        # One weight for each channel of a tap; the file calls the first lin0.model.1.weight.
        for k, n in enumerate(TAPS.values()):
            weights = nn.Sequential(nn.Identity(), nn.Conv2d(n, 1, 1, bias=False))
            self.add_module(f"lin{k}", nn.ModuleDict({"model": weights}))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        shift, scale = (torch.tensor(v, device=a.device)[:, None, None] for v in (LPIPS_SHIFT, LPIPS_SCALE))
        x = ((torch.cat([a, b]).float() * (2 / 255) - 1) - shift) / scale  # [2N,3,h,w]

        distance = x.new_zeros(len(a))
        places = list(TAPS)
        for place, layer in enumerate(list(self.features)[: places[-1] + 1]):
            x = layer(x)
            if place in TAPS:
                # Compare vectors of unit length, channel by channel.
                unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)  # [2N,C,h',w']
                u, v = unit.chunk(2)
                weights = self.get_submodule(f"lin{places.index(place)}.model.1")
                distance = distance + weights((u - v).square()).mean((1, 2, 3))
        return distance
