"""Every operator says the right shapes, dtypes and memory formats about its results without computing them."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves

from training.ops.triton import bias_act, blur, epilogue, minibatch_stddev, pixel_norm


def operators(dtype):
    """Return each operator with arguments."""
    x, y = torch.randn(2, 4, 6, 7, 5).to(dtype).contiguous().unbind(0)
    channel = torch.randn(6)
    noise, style, groups, moments = torch.randn(1, 1, 7, 5), torch.randn(4, 12), torch.randn(2, 2), torch.randn(4, 2, 6)
    return {
        "stddev mean": (minibatch_stddev.mean, (x, 2, 2, 1e-8)),
        "stddev gradient": (minibatch_stddev.gradient, (x, groups, 2, 2, 1e-8)),
        "stddev second gradient": (minibatch_stddev.second_gradient, (x, y, groups, 2, 2, 1e-8)),
        "bias": (bias_act.forward, (x, channel, 0.2)),
        "bias tangent": (bias_act.tangent, (x, channel, y, 0.2)),
        "bias gradient": (bias_act.gradient, (x, y, 0.2)),
        "moments": (epilogue.moments, (x, channel, noise, channel, 0.2, 1e-8)),
        "epilogue": (epilogue.apply, (x, channel, None, None, moments, style, 0.2)),
        "epilogue gradient": (epilogue.gradient, (x, y, channel, noise, channel, moments, style, 0.2)),
        "pixel norm": (pixel_norm.forward, (x, 1e-8)),
        "pixel norm gradient": (pixel_norm.gradient, (x, y, 1e-8)),
        "blur": (blur.blur, (x, (1, 2, 1), 1)),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", operators(torch.float32))
def test_shapes_without_values(name, dtype):
    operator, arguments = operators(dtype)[name]
    actual = operator(*arguments)
    with FakeTensorMode() as mode:
        tensors = [mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in arguments]
        predicted = operator(*tensors)

    for real, fake in zip(tree_leaves(actual), tree_leaves(predicted), strict=True):
        assert (real.shape, real.dtype, real.stride()) == (fake.shape, fake.dtype, fake.stride())
