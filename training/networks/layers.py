"""Layers shared by the networks."""

import contextlib
import math

import torch
import torch.nn.functional as F
from torch import nn

from training.ops.bias_act import activate, bias_act
from training.ops.concatenation import concatenate
from training.ops.convolution import conv1x1, conv2d
from training.ops.minibatch_stddev import conv2d_with_constants
from training.ops.resample import blur2d, conv_down2d, conv_up2d

# Keeps the variance of features through a layer whose activation is a rectifier (He et al. 2015).
GAIN_RELU = math.sqrt(2.0)


class EqualizedWeight(nn.Module):
    """Base of the layers with a weight under equalised learning rate (ProGAN, section 4.1).

    The weight is drawn from N(0, 1) / lrmul and multiplied by gain / sqrt(fan_in) * lrmul at run time, so that all
    layers learn equally fast under Adam, whose steps do not depend on the size of gradients. Without `use_wscale` the
    factor gain / sqrt(fan_in) goes into the initial weight instead. The bias, where a layer has one, starts at 0 and is
    multiplied by lrmul.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        bias: bool = True,
        gain: float = GAIN_RELU,
        use_wscale: bool = True,
        lrmul: float = 1.0,
    ) -> None:
        super().__init__()
        std = gain / math.sqrt(math.prod(shape[1:]))

        # With use_wscale, `std` is applied at run time; otherwise once, here.
        self.weight = nn.Parameter(torch.randn(shape) * ((1.0 if use_wscale else std) / lrmul))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None

        self.weight_scale = std * lrmul if use_wscale else lrmul
        self.lrmul = lrmul  # learning rate multiplier (StyleGAN, appendix C)

    def scaled_weight(self) -> torch.Tensor:
        """Return the weight as inputs are multiplied by it."""
        return self.weight * self.weight_scale

    def scaled_bias(self) -> torch.Tensor:
        """Return the bias times its learning rate multiplier."""
        assert self.bias is not None
        return self.bias if self.lrmul == 1 else self.bias * self.lrmul


class Dense(EqualizedWeight):
    """Fully connected layer: [N,in] -> [N,out], computed in the dtype of its weight even under autocast."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        activation: str | None = None,
        gain: float = GAIN_RELU,
        use_wscale: bool = True,
        lrmul: float = 1.0,
        bias: bool = True,
    ) -> None:
        super().__init__((n_out, n_in), bias, gain, use_wscale, lrmul)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Dense layers are small: their precision costs nothing, and the mapping network needs it.
        with torch.autocast(x.device.type, enabled=False):
            bias = None if self.bias is None else self.scaled_bias()
            x = F.linear(x.to(self.weight.dtype), self.scaled_weight(), bias)  # [N,out]
            return activate(x, self.activation)


class Conv2d(EqualizedWeight):
    """SAME convolution with odd kernel: [N,in,H,W] -> [N,out,H,W]; bias and activation are optional.

    The last input channels may come as `constants` [N,F], one value for all pixels: then x is [N,in-F,H,W].
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel: int,
        activation: str | None = None,
        bias: bool = True,
        gain: float = GAIN_RELU,
        use_wscale: bool = True,
    ) -> None:
        super().__init__((n_out, n_in, kernel, kernel), bias, gain, use_wscale)
        self.kernel = kernel
        self.activation = activation

    def forward(self, x: torch.Tensor, constants: torch.Tensor | None = None) -> torch.Tensor:
        weight = self.scaled_weight()

        if constants is not None:
            x = conv2d_with_constants(x, constants, weight)  # [N,out,H,W]
        elif self.kernel == 1:
            x = conv1x1(x, weight)
        else:
            x = conv2d(x, weight, padding=self.kernel // 2)
        return x if self.bias is None else bias_act(x, self.scaled_bias(), self.activation)


class ConvUp2d(EqualizedWeight):
    """2x up-sampling + 3x3 convolution + blur, without bias: [N,in,H,W] -> [N,out,2H,2W] (docs/semantics.md, 7)."""

    def __init__(self, n_in: int, n_out: int, rotate: bool, taps: tuple[int, ...], use_wscale: bool = True) -> None:
        super().__init__((n_out, n_in, 3, 3), bias=False, use_wscale=use_wscale)
        self.rotate = rotate
        self.taps = taps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return blur2d(conv_up2d(x, self.scaled_weight(), self.rotate), self.taps)  # [N,out,2H,2W]


class ConvDown2d(EqualizedWeight):
    """Blur + 3x3 convolution + 2x2 mean + bias + activation: [N,in,H,W] -> [N,out,H/2,W/2] (docs/semantics.md, 8).

    The original's fused and unfused forms are equal, so there is one.
    """

    def __init__(self, n_in: int, n_out: int, activation: str, taps: tuple[int, ...], use_wscale: bool = True) -> None:
        super().__init__((n_out, n_in, 3, 3), use_wscale=use_wscale)
        self.activation = activation
        self.taps = taps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = conv_down2d(blur2d(x, self.taps), self.scaled_weight())  # [N,out,H/2,W/2]
        return bias_act(x, self.scaled_bias(), self.activation)


class DenseInput(nn.Module):
    """The input layer of the ProGAN family: w [N,w_dim] -> [N,C,h,w], without bias.

    It equals a transposed convolution of w as a 1x1 image.
    """

    def __init__(self, w_dim: int, channels: int, height: int, width: int, gain: float, use_wscale: bool) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.fc = Dense(w_dim, channels * height * width, gain=gain, use_wscale=use_wscale, bias=False)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        # The dense layer computes in float32; convolutions follow.
        x = self.fc(w).unflatten(1, (-1, self.height, self.width)).to(compute_dtype(w))  # [N,C,h,w]
        return x.contiguous(memory_format=torch.channels_last)


class Combine(nn.Module):
    """Merge the features [N,nf,h,w] and the image [N,channels,h,w] of a block: the paper's phi (MSG-GAN, section 3).

    kind: `cat_lin` = a 1x1 convolution over their concatenation, to nf maps; `lin_cat` = the features, followed by a
    1x1 convolution of the image to nf maps; `simple` = the features followed by the image. No activation.
    """

    def __init__(self, kind: str, nf: int, channels: int, use_wscale: bool, bias: bool) -> None:
        super().__init__()
        self.kind = kind

        # The convolution, and the number of maps that the block goes on with.
        if kind == "cat_lin":
            self.conv = Conv2d(nf + channels, nf, 1, bias=bias, use_wscale=use_wscale)
        elif kind == "lin_cat":
            self.conv = Conv2d(channels, nf, 1, bias=bias, use_wscale=use_wscale)
        self.n_out = {"cat_lin": nf, "lin_cat": 2 * nf, "simple": nf + channels}[kind]

    def forward(self, x: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        # Under autocast, features may be bf16 and images float32.
        image = image.to(x.dtype)
        if self.kind == "lin_cat":
            return concatenate(x, self.conv(image))  # [N,2*nf,h,w]

        if self.kind == "simple":
            return concatenate(x, image)  # [N,nf+channels,h,w]

        # The convolution of a concatenation is a sum, whose parts keep the number of channels that convolutions like.
        weight = self.conv.scaled_weight().to(x.dtype)
        of_features, of_image = weight.split([x.shape[1], image.shape[1]], 1)
        y = conv1x1(x, of_features) + conv1x1(image, of_image)  # [N,nf,h,w]
        return y if self.conv.bias is None else bias_act(y, self.conv.scaled_bias(), None)


def without_fp16(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return a context in which what autocast would compute in fp16 is float32.

    It is for the smallest block: instance norm of the constant input, whose maps have next to no variance at first,
    multiplies gradients by up to 10^4, which fp16 has no room for.
    """
    is_fp16 = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.float16
    return torch.autocast(device.type, enabled=False) if is_fp16 else contextlib.nullcontext()


def compute_dtype(like: torch.Tensor) -> torch.dtype:
    """Return the dtype of convolutions here: autocast's if it is on, else that of `like`."""
    # What is added to the output of a convolution has to have its dtype.
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype
