"""Weights of networks for other images: with other channels, with or without classes, or with other classes.

What the network does stays the same as far as that can be: the new network draws, and judges, the images of the old one
with their channels converted. An alpha channel that has gone is 0 to D, half transparent.
"""

import re
from collections.abc import Callable

import torch

Shape = tuple[int, ...]
Adapt = Callable[[torch.Tensor], torch.Tensor]


def adaptation(
    key: str, old_shape: Shape, new_shape: Shape, use_wscale: bool, old_classes: int = 0, new_classes: int = 0
) -> Adapt | None:
    """Return a function that converts a tensor from `old_shape` to `new_shape`, or None if there is none.

    key: its name in the network. use_wscale: whether weights are divided by the root of their number of inputs when
    they are used. old_classes, new_classes: label values of the images.
    """
    if old_shape == new_shape and old_classes == new_classes:
        return lambda t: t
    if len(old_shape) != len(new_shape):
        return None

    # Heads of different kinds and classes may have equally many rows that mean something else.
    if re.search(r"^b\d+\.(fc|fc1)\.(weight|bias)$", key) and old_shape[1:] == new_shape[1:]:
        return lambda t: _scores(t, new_shape[0], old_classes, new_classes)
    if old_shape == new_shape:
        return lambda t: t

    # Of all others, only what changes with the images may differ.
    differing = [axis for axis, (a, b) in enumerate(zip(old_shape, new_shape, strict=True)) if a != b]
    if len(differing) != 1:
        return None
    axis = differing[0]
    old, new = old_shape[axis], new_shape[axis]

    if re.search(r"\btorgb\d+\.(weight|bias)$", key) and axis == 0:
        return lambda t: _images_out(t, old, new, is_bias=key.endswith("bias"))
    if re.search(r"\b(fromrgb|combine\.conv)\.weight$", key) and axis == 1:
        return _image_in(key, old_shape, new_shape, use_wscale)
    if re.search(r"^(mapping\.fc0|synthesis\.b\d+\.(layer0\.)?(source|basis)\.fc)\.weight$", key) and axis == 1:
        return _latent_in(old, new, use_wscale)
    if key == "mapping.label_weight" and axis == 0:
        return lambda t: _mean(t, new)
    return None


def converted_channels(old: int, new: int) -> torch.Tensor:
    """Return the matrix [new,old] that converts the channels of images; with 2 or 4 channels, the last is alpha."""
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


def _image_in(key: str, old_shape: Shape, new_shape: Shape, use_wscale: bool) -> Adapt:
    """Convert what looks at images: the last inputs of a weight, after those that are features."""
    # Of the ways to combine, cat_lin looks at features and image together, and returns as many features as before.
    has_features = "combine" in key and old_shape[1] > old_shape[0] and new_shape[1] > new_shape[0]
    features = old_shape[0] if has_features else 0
    old, new = old_shape[1] - features, new_shape[1] - features

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


def _scores(t: torch.Tensor, new: int, old_classes: int, new_classes: int) -> torch.Tensor:
    """Convert the last layer of D, with a row for each class, and perhaps one more that all classes share.

    As many classes as before keep their scores. Otherwise each is scored at first as the old ones were on average.
    """
    of_classes = t[:old_classes]
    shared = t[old_classes:].sum(0, keepdim=True)  # of one row or none
    if old_classes != new_classes:
        if old_classes:
            shared = shared + of_classes.mean(0, keepdim=True)
        of_classes = t.new_zeros(new_classes, *t.shape[1:])

    # A switch has no shared row: each class has its share of it.
    has_shared = new > new_classes
    return torch.cat([of_classes, shared]) if has_shared else of_classes + shared


def _mean(t: torch.Tensor, new: int) -> torch.Tensor:
    """Convert the embeddings of classes: each begins as the mean of the old ones."""
    return t.mean(0, keepdim=True).repeat(new, 1)
