"""Values and derivatives of an operation, to compare its implementations."""

from functools import partial

import torch


def derivatives(operation, *inputs, second=True):
    """Return the value of an operation, its gradients with respect to all inputs, and those of a penalty on them.

    The penalty is taken as R1 takes it: the squared norm of a gradient under torch.func, differentiated again.
    """
    inputs = [t.detach().clone().requires_grad_() for t in inputs]
    y = operation(*inputs)
    weight = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)

    def loss(*inputs):
        y = operation(*inputs).double()
        return (y * weight + y.pow(3) / 3).sum()

    results = [y, *torch.autograd.grad(loss(*inputs), inputs)]
    if second:

        def penalty(*inputs):
            return torch.func.grad(loss)(*inputs).double().square().sum()

        under_func = torch.autograd.grad(penalty(*inputs), inputs, materialize_grads=True)
        [dx] = torch.autograd.grad(loss(*inputs), inputs[:1], create_graph=True)
        twice = torch.autograd.grad(dx.double().square().sum(), inputs, materialize_grads=True)
        results += [*under_func, *twice]
    return [r.detach() for r in results]


def assert_equal_to_reference(operation, *inputs, second=True):
    """Compare kernels and reference, both in float32 and in bf16, with the reference in float64, for the same inputs.

    Kernels may be wrong by the rounding of a result, and by twice what the reference is.

    operation: takes the inputs and `impl`. The first input decides the dtype of the result.
    """
    for dtype, rounding in ((torch.float32, 3e-5), (torch.bfloat16, 0.008)):
        rounded = [inputs[0].to(dtype), *(t.float() for t in inputs[1:])]
        exact = derivatives(partial(operation, impl="ref"), *[t.double() for t in rounded], second=second)
        reference = derivatives(partial(operation, impl="ref"), *rounded, second=second)
        kernels = derivatives(partial(operation, impl="triton"), *rounded, second=second)

        assert [t.dtype for t in kernels] == [t.dtype for t in reference]
        for i, (actual, other, expected) in enumerate(zip(kernels, reference, exact, strict=True)):
            scale = expected.abs().max() + 1e-3
            error, allowed = ((t.double() - expected).abs().max() / scale for t in (actual, other))
            assert error <= rounding + 2 * allowed, (dtype, i, error, allowed)
