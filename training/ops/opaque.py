"""Functions that torch.compile takes as they are, without looking inside."""

from collections.abc import Callable
from typing import TypeVar

import torch

Operation = TypeVar("Operation", bound=Callable[..., torch.Tensor])

_OPAQUE: list[Callable[..., torch.Tensor]] = []


def opaque(function: Operation) -> Operation:
    """Mark an operation with derivatives of its own, which the compiler gets wrong inside torch.func.

    See pytorch/pytorch#193279. The mark counts once `tell_compiler` has been called.
    """
    _OPAQUE.append(function)
    return function


def tell_compiler() -> None:
    """Make the marks known to torch.compile; call it after the operations are imported, before anything is compiled.

    Importing the compiler takes a second or two and leaves a folder in the temporary one, so it is done only on demand.
    """
    for function in _OPAQUE:
        torch.compiler.allow_in_graph(function)
