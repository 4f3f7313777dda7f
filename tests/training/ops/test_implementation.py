import torch

from training.ops.implementation import use_triton


def test_a_choice_is_followed():
    x = torch.zeros(1)
    assert use_triton("triton", x, when_compiling=False)
    assert not use_triton("ref", x, when_compiling=True)


def test_a_cpu_takes_the_reference_unless_told_otherwise():
    assert not use_triton("auto", torch.zeros(1), when_compiling=True)
