"""The probability of augmentations, and what draws depend on."""

import pytest
import torch

from training.augment.augmenter import Augmenter
from training.augment.steps import augmented
from training.spec import ImageSpec
from training.step_config import AugmentConfig

SPEC = ImageSpec(resolution=8)
CPU = torch.device("cpu")


def test_p_follows_what_d_thinks_of_reals():
    augmenter = Augmenter(AugmentConfig(name="ada", kimg=0.4, interval=2), SPEC, CPU)
    p = []
    for step, signal in enumerate([1.0, 0.4, 0.9, 0.9, 0.1, 1.0, -1.0, -1.0, -1.0, -1.0]):
        augmenter.adapt(torch.tensor(signal), step, batch=20)
        p.append(round(augmenter.p.item(), 6))
    # Two steps of 20 images move it by a tenth; a mean of 0.55 is less than the target, and 0 is the least.
    assert p == [0, 0.1, 0.1, 0.2, 0.2, 0.1, 0.1, 0, 0, 0]
    for step in range(40):
        augmenter.adapt(torch.tensor(1.0), step, batch=20)
    assert augmenter.p.item() == 1


def test_a_step_that_is_not_finite_says_nothing():
    augmenter = Augmenter(AugmentConfig(name="ada", kimg=0.4, interval=2), SPEC, CPU)
    for step, signal in enumerate([float("nan"), 1.0, float("nan"), float("inf")]):
        augmenter.adapt(torch.tensor(signal), step, batch=20)
    assert augmenter.p.item() == pytest.approx(0.05)


def test_a_state_goes_on_where_it_was():
    cfg = AugmentConfig(name="ada", kimg=0.4, interval=4)
    whole, first, second = (Augmenter(cfg, SPEC, CPU) for _ in range(3))
    for step in range(16):
        whole.adapt(torch.tensor(1.0), step, batch=20)
        (first if step < 6 else second).adapt(torch.tensor(1.0), step, batch=20)
        if step == 5:
            second.load_state_dict({name: t.clone() for name, t in first.state_dict().items()})
    assert torch.equal(whole.p, second.p) and whole.p > 0


@pytest.mark.parametrize("cfg", [AugmentConfig(name="ada", p=0.5), AugmentConfig(name="diffaugment", p=0.5)])
def test_draws_are_a_function_of_key_and_p(cfg):
    augmenter, images = Augmenter(cfg, SPEC, CPU), torch.rand(16, 3, 8, 8)

    def of(*key):
        return augmented((images,), augmenter.draw(16, key))[0]

    assert torch.equal(of(1, "D"), of(1, "D")) and not torch.equal(of(1, "D"), of(1, "G"))
    augmenter.adapt(torch.tensor(1.0), 3, batch=20)
    assert augmenter.p.item() == 0.5 and torch.equal(of(1, "D"), of(1, "D"))


def test_parts():
    of = Augmenter(AugmentConfig(name="ada", p=1.0, parts="color"), SPEC, CPU).draw(2, (0,))
    assert [type(step).__name__ for step in of] == ["Color"]
    of = Augmenter(AugmentConfig(name="diffaugment", parts="cutout,translation"), SPEC, CPU).draw(2, (0,))
    assert [type(step).__name__ for step in of] == ["Warp", "Cutout"]
    assert Augmenter(AugmentConfig(), SPEC, CPU).draw(2, (0,)) == ()
    for name, parts in (("ada", "cutout"), ("none", "color"), ("diffaugment", "")):
        with pytest.raises(ValueError, match="parts: found"):
            AugmentConfig(name=name, parts=parts)
