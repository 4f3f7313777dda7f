import pytest

from training.step_config import AdamConfig, LossConfig


def test_regularisation_is_as_strong_however_seldom():
    cfg = LossConfig(reg_interval=4, gamma_end=0.1, gamma_kimg=1)
    factors = [cfg.reg_factor(nimg, batch=8) for nimg in range(0, 64, 8)]
    assert [f is not None for f in factors] == [True, False, False, False] * 2
    assert factors[0] == 4.0 and cfg.reg_factor(32000, batch=8) == pytest.approx(0.4)


def test_schedules_of_r3gan_are_half_a_cosine():
    cfg = AdamConfig(lr=2e-4, lr_end=0.25, beta2=0.9, beta2_end=0.99, schedule_kimg=4)
    images = (0, 2000, 4000, 9000)
    assert [cfg.lr_after(nimg) for nimg in images] == pytest.approx([2e-4, 1.25e-4, 5e-5, 5e-5])
    assert [cfg.beta2_after(nimg) for nimg in images] == pytest.approx([0.9, 0.945, 0.99, 0.99])

    # Without a schedule, nothing changes.
    assert (AdamConfig().lr_after(9000), AdamConfig().beta2_after(9000)) == (0.003, 0.99)
