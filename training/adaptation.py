"""Weights of networks for other images: with other channels, with or without classes, or with other classes.

What the network does stays the same as far as that can be: the new network draws, and judges, the images of the old one
with their channels converted.
"""

import re
from collections.abc import Callable

import torch

Shape = tuple[int, ...]
Adapt = Callable[[torch.Tensor], torch.Tensor]


def adaptation(key: str, there: Shape, here: Shape, use_wscale: bool, extra_scores: int = 0) -> Adapt | None:
    """Return what makes a tensor of shape `here` of one of shape `there`; None if nothing does.

    key: its name in the network. use_wscale: whether weights are divided by the root of their number of inputs when
    they are used. extra_scores: values of D's last layer that do not belong to a class (`score_outputs`).
    """
    if len(there) != len(here):
        return None

    # Only what changes with the images may differ.
    differing = [axis for axis, (a, b) in enumerate(zip(there, here, strict=True)) if a != b]
    if len(differing) != 1:
        return None
    axis = differing[0]
    old, new = there[axis], here[axis]

    if re.search(r"\btorgb\d+\.(weight|bias)$", key) and axis == 0:
        return lambda t: _images_out(t, old, new, is_bias=key.endswith("bias"))
    if re.search(r"\b(fromrgb|combine\.conv)\.weight$", key) and axis == 1:
        return _image_in(key, there, here, use_wscale)
    if re.search(r"^(mapping\.fc0|synthesis\.b\d+\.(layer0\.)?(source|basis)\.fc)\.weight$", key) and axis == 1:
        return _latent_in(old, new, use_wscale)
    if re.search(r"^b\d+\.(fc|fc1)\.(weight|bias)$", key) and axis == 0:
        return lambda t: _scores(t, new, extra_scores)
    return None


def converted_channels(old: int, new: int) -> torch.Tensor:
    """Return the matrix [new,old] that converts the channels of images; what 2 and 4 channels end with is alpha."""
    old_colors, new_colors = (n - (n in (2, 4)) for n in (old, new))

    # To gray the mean of all colours, from gray the same for all, and otherwise as many colours as both have.
    matrix = torch.zeros(new, old)
    if new_colors == 1 or old_colors == 1:
        matrix[:new_colors, :old_colors] = 1 / old_colors
    else:
        common = min(old_colors, new_colors)
        matrix[:common, :common] = torch.eye(common)

    if old_colors < old and new_colors < new:
        matrix[-1, -1] = 1
    return matrix


def _images_out(t: torch.Tensor, old: int, new: int, is_bias: bool) -> torch.Tensor:
    """Convert what draws images of `old` channels, [old,...]; new alpha is opaque."""
    result = torch.tensordot(converted_channels(old, new).to(t), t, dims=1)  # [new,...]
    if is_bias and new in (2, 4) and old not in (2, 4):
        result[-1] = 1
    return result


def _image_in(key: str, there: Shape, here: Shape, use_wscale: bool) -> Adapt:
    """Convert what looks at images: the last inputs of a weight, after those that are features."""
    features = there[0] if "combine" in key and there[1] > there[0] and here[1] > here[0] else 0
    old, new = there[1] - features, here[1] - features

    def adapt(t: torch.Tensor) -> torch.Tensor:
        of_features, of_image = t.split([features, old], 1)
        matrix = converted_channels(new, old).to(t)  # how the old images follow from the new ones
        of_image = torch.einsum("oihw,in->onhw", of_image, matrix)
        return _rescaled(torch.cat([of_features, of_image], 1), t, use_wscale)

    return adapt


def _latent_in(old: int, new: int, use_wscale: bool) -> Adapt | None:
    """Convert what looks at z, which with labels is followed by their embedding, as long as z is."""
    if new == 2 * old:  # which is ignored at first
        return lambda t: _rescaled(torch.cat([t, torch.zeros_like(t)], 1), t, use_wscale)
    if old == 2 * new:
        return lambda t: _rescaled(t[:, :new], t, use_wscale)
    return None


def _rescaled(result: torch.Tensor, t: torch.Tensor, use_wscale: bool) -> torch.Tensor:
    """Undo what another number of inputs does to a weight when it is used."""
    return result * (result[0].numel() / t[0].numel()) ** 0.5 if use_wscale else result


def _scores(t: torch.Tensor, new: int, extra: int) -> torch.Tensor:
    """Convert the last layer of D: each class begins with the mean of those that there were."""
    mean = t.mean(0, keepdim=True)
    result = mean.expand(new, *t.shape[1:]).clone()

    # A score that all classes share is enough by itself.
    if extra:
        result[:-extra] = 0
    return result
