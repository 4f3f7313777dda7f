"""Convolutions whose derivatives of every order are convolutions with small filters.

R1 differentiates the gradient of D once more. Autograd's second derivative of a convolution takes a convolution whose
filter is as large as the image, for which neither cuDNN nor oneDNN has a fast kernel. The three operations here, a
convolution, its transpose, and the gradient with respect to the weight, differentiate into one another instead.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd import Function

from training.ops.opaque import opaque

_gradients = torch.ops.aten.convolution_backward.default  # with respect to x, weight and bias


class _Geometry(NamedTuple):
    """What a convolution does beside multiplying; the same for both dimensions of an image, but for the last field.

    With groups, each part of the input channels leads to a part of the output channels.
    """

    stride: int
    padding: int
    transposed: bool
    groups: int = 1
    output_padding: tuple[int, int] = (0, 0)  # rows and columns that a transposed convolution adds at the end

    def arguments(self) -> tuple[Any, ...]:
        """Return what PyTorch's operators take: stride, padding, dilation, transposed, output_padding, groups."""
        stride, padding, dilation = ([n, n] for n in (self.stride, self.padding, 1))
        return stride, padding, dilation, self.transposed, list(self.output_padding), self.groups

    def adjoint(self, y: torch.Tensor, x: torch.Tensor, kernel: int) -> "_Geometry":
        """Return the geometry of the operation that leads from the size of the output y back to that of x."""
        if self.transposed:
            return self._replace(transposed=False, output_padding=(0, 0))

        # Where the stride does not divide the image, several sizes lead to the same output.
        rows, columns = (
            large - ((small - 1) * self.stride - 2 * self.padding + kernel)
            for small, large in zip(y.shape[2:], x.shape[2:], strict=True)
        )
        return self._replace(transposed=True, output_padding=(rows, columns))


class _Convolution(Function):
    """Convolve x [N,I,H,W] with weight [O,I,k,k], or, transposed, with weight [I,O,k,k]."""

    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor, geometry: _Geometry) -> torch.Tensor:
        y = torch.convolution(x, weight, None, *geometry.arguments())
        return y.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, _Geometry], output: torch.Tensor) -> None:
        x, weight, ctx.geometry = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        geometry = ctx.geometry

        # Most gradients are not differentiated again.
        if not torch.is_grad_enabled():
            wanted = [*ctx.needs_input_grad[:2], False]
            dx, dweight, _ = _gradients(dy, x, weight, None, *geometry.arguments(), wanted)
            return dx, dweight, None

        dx = dweight = None
        if ctx.needs_input_grad[0]:
            dx = _Convolution.apply(dy, weight, geometry.adjoint(dy, x, weight.shape[2]))
        if ctx.needs_input_grad[1]:
            dweight = _WeightGradient.apply(dy, x, weight.shape, geometry)
        return dx, dweight, None


class _WeightGradient(Function):
    """The gradient of `_Convolution` with respect to its weight, which is linear in dy and in x."""

    @staticmethod
    def forward(dy: torch.Tensor, x: torch.Tensor, shape: torch.Size, geometry: _Geometry) -> torch.Tensor:
        # Only the shape of the weight matters, and only its gradient is computed.
        weight = x.new_empty(1).expand(shape)
        wanted = [False, True, False]
        _, dweight, _ = _gradients(dy, x, weight, None, *geometry.arguments(), wanted)
        return dweight  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, torch.Size, _Geometry], output: torch.Tensor
    ) -> None:
        dy, x, _, ctx.geometry = inputs
        ctx.save_for_backward(dy, x)

    @staticmethod
    def backward(ctx: Any, dweight: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        dy, x = ctx.saved_tensors
        geometry = ctx.geometry

        ddy = dx = None
        if ctx.needs_input_grad[0]:
            ddy = _Convolution.apply(x, dweight, geometry)
        if ctx.needs_input_grad[1]:
            dx = _Convolution.apply(dy, dweight, geometry.adjoint(dy, x, dweight.shape[2]))
        return ddy, dx, None, None


@opaque
def _convolve(
    x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int, transposed: bool, groups: int
) -> torch.Tensor:
    """Call the operation."""
    return _Convolution.apply(x, weight, _Geometry(stride, padding, transposed, groups))  # type: ignore[no-any-return, no-untyped-call]


def _convolution(
    x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int, transposed: bool, groups: int = 1
) -> torch.Tensor:
    """Convolve in the dtype of autocast, by the operations above where the gradient is differentiated again."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight = x.to(dtype), weight.to(dtype)

    # A Function costs as much time as ten operations of PyTorch's own, which matters in small networks.
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return _convolve(x, weight, stride, padding, transposed, groups)
    y = torch.convolution(x, weight, None, *_Geometry(stride, padding, transposed, groups).arguments())
    return y.contiguous(memory_format=torch.channels_last)


def conv2d(x: torch.Tensor, weight: torch.Tensor, stride: int = 1, padding: int = 0, groups: int = 1) -> torch.Tensor:
    """Convolve x [N,I,H,W] with weight [O,I/groups,k,k], as `F.conv2d` does; channels_last."""
    return _convolution(x, weight, stride, padding, transposed=False, groups=groups)


def conv_transpose2d(x: torch.Tensor, weight: torch.Tensor, stride: int = 1, padding: int = 0) -> torch.Tensor:
    """Convolve x [N,I,H,W] with weight [I,O,k,k], as `F.conv_transpose2d` does; channels_last."""
    return _convolution(x, weight, stride, padding, transposed=True)


def conv1x1(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Convolve x [N,I,H,W] with weight [O,I,1,1], as a product of matrices over all pixels; channels_last.

    The derivatives of a product are products, and take none of the Functions above.
    """
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)
