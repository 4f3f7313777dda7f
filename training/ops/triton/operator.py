"""Kernels as operators of PyTorch, which tensors without values (fake tensors) understand as well."""

from collections.abc import Callable
from typing import Any

import torch

_LIBRARY = torch.library.Library("msg_gan", "FRAGMENT")


def like(x: torch.Tensor, *_: object) -> torch.Tensor:
    """Return an empty tensor like x [N,C,H,W], channels_last."""
    return torch.empty_like(x, memory_format=torch.channels_last)


def operator(schema: str, shapes: Callable[..., Any] = like) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make an operator `torch.ops.msg_gan.NAME` of a function that launches kernels.

    schema: `NAME(Tensor x, ...) -> Tensor`, in PyTorch's language for operators.
    shapes: takes the same arguments, and returns empty tensors like the results. Default: one like the first argument.

    `torch.library.custom_op` does the same, but imports the compiler, which takes a second or two, and adds to the time
    of each call.
    """
    name = schema[: schema.index("(")]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        def on_its_gpu(x: torch.Tensor, *arguments: object) -> Any:
            """Launch on the GPU that the tensors are on, which need not be the current one."""
            with torch.cuda.device_of(x):
                return function(x, *arguments)

        _LIBRARY.define(schema)
        _LIBRARY.impl(name, on_its_gpu, "CUDA")
        _LIBRARY.impl(name, function, "CPU")  # where Triton's interpreter runs the kernels
        _LIBRARY.impl(name, shapes, "Meta")
        return getattr(torch.ops.msg_gan, name).default  # type: ignore[no-any-return]

    return decorate
