"""torch-fidelity's own networks and formulas, without torchvision, which it imports but hardly uses here."""

import importlib
import sys
import types
from unittest import mock

import torch
from torch import nn


def _vgg16(**_):
    """torchvision's VGG16 as plain layers under its names."""
    layers, n = [], 3
    for n_out in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        layers += [nn.Conv2d(n, n_out, 3, 1, 1), nn.ReLU(True)] if n_out else [nn.MaxPool2d(2)]
        n = n_out or n

    class VGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(
                nn.Linear(25088, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 4096),
                nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 1000),
            )  # fmt: skip

        def forward(self, x):
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    return VGG()


def _normalize(x, mean, std, inplace):
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


class _Anything(types.ModuleType):
    __path__: list = []  # noqa: RUF012

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *a, **k: None})


def load(name):
    """torch_fidelity.NAME, imported with a stand-in for torchvision."""
    names = ["torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.models",
             "torchvision.datasets"]  # fmt: skip
    modules = {n: _Anything(n) for n in names}
    for n in names[1:]:
        parent, _, child = n.rpartition(".")
        setattr(modules[parent], child, modules[n])
    modules["torchvision.models"].vgg16 = _vgg16
    modules["torchvision.transforms.functional"].normalize = _normalize
    with mock.patch.dict(sys.modules, modules):
        return importlib.import_module(f"torch_fidelity.{name}")


def vgg16():
    return _vgg16()
