"""Layers: equalised learning rate, input layers, blur, and how D merges features and image."""

import math

import pytest
import torch
import torch.nn.functional as F

from training.networks.layers import GAIN_RELU, Combine, Conv2d, ConvDown2d, ConvUp2d, Dense, DenseInput


@pytest.mark.parametrize("lrmul", [1.0, 0.01])
@pytest.mark.parametrize("use_wscale", [True, False])
def test_equalised_and_plain_layers_start_with_the_same_spread(use_wscale, lrmul):
    """The effective weight has the standard deviation gain / sqrt(fan_in) either way; what differs is its gradient."""
    torch.manual_seed(0)
    layer = Dense(256, 512, use_wscale=use_wscale, lrmul=lrmul)
    std = GAIN_RELU / math.sqrt(256)
    effective = layer.weight * layer.weight_scale
    assert effective.std().item() == pytest.approx(std, rel=0.02)
    assert layer.weight_scale == pytest.approx((std if use_wscale else 1) * lrmul)


def test_dense_by_hand():
    layer = Dense(3, 2, "lrelu", lrmul=0.5)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([1.0, -2.0]))
    x = torch.randn(4, 3)
    expected = F.leaky_relu(x @ layer.weight.T * GAIN_RELU / math.sqrt(3) * 0.5 + layer.bias * 0.5, 0.2)
    torch.testing.assert_close(layer(x), expected)


def test_dense_keeps_its_precision_under_autocast():
    layer = Dense(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 8)).dtype == torch.float32


def test_conv_with_constants_equals_constant_maps():
    layer = Conv2d(5, 4, 3, "lrelu")
    x, constants = torch.randn(2, 3, 8, 8), torch.randn(2, 2)
    maps = torch.cat([x, constants[:, :, None, None].expand(-1, -1, 8, 8)], 1)
    torch.testing.assert_close(layer(x, constants), layer(maps), atol=1e-5, rtol=1e-5)


def test_resampling_layers_change_the_size_by_two():
    x = torch.randn(2, 3, 8, 8)
    assert ConvUp2d(3, 4, rotate=False, taps=(1, 2, 1))(x).shape == (2, 4, 16, 16)
    assert ConvDown2d(3, 4, "lrelu", taps=(1, 2, 1))(x).shape == (2, 4, 4, 4)


def test_dense_input_is_a_transposed_convolution():
    layer = DenseInput(6, 5, 4, 3, gain=1.0, use_wscale=True)
    w = torch.randn(2, 6)
    kernel = (layer.fc.weight * layer.fc.weight_scale).unflatten(0, (5, 4, 3)).permute(3, 0, 1, 2)  # [in,out,4,3]
    torch.testing.assert_close(layer(w), F.conv_transpose2d(w[:, :, None, None], kernel))


@pytest.mark.parametrize("kind, maps", [("cat_lin", 4), ("lin_cat", 8), ("simple", 7)])
def test_combine_by_definition(kind, maps):
    combine = Combine(kind, 4, 3, use_wscale=True, bias=False)
    x, image = torch.randn(2, 4, 8, 8), torch.randn(2, 3, 8, 8)
    expected = {
        "cat_lin": lambda: combine.conv(torch.cat([x, image], 1)),
        "lin_cat": lambda: torch.cat([x, combine.conv(image)], 1),
        "simple": lambda: torch.cat([x, image], 1),
    }[kind]()
    torch.testing.assert_close(combine(x, image), expected)
    assert combine.n_out == maps == expected.shape[1]
