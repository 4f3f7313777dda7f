import math

import pytest
import torch
from torch import nn

from training.optimizer import Adam
from training.step_config import AdamConfig


def gradients(steps, shape):
    g = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=g, dtype=torch.float64) * 10.0**-k for k in range(steps)]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64).view(2, 3))
        self.b = nn.Parameter(torch.ones(4, dtype=torch.float64))


def run(cfg, grads):
    model = Model()
    opt = Adam(model, cfg)
    for g in grads:
        opt.zero_grad()
        (model.a * g[:6].view(2, 3)).sum().backward()
        (model.b * g[6:]).sum().backward()
        opt.step(cfg.lr)
    return model, opt


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.99), (0.5, 0.9)])
def test_torch_form_is_torch_adam(beta1, beta2):
    grads = gradients(5, 10)
    model, _ = run(AdamConfig(lr=0.1, beta1=beta1, beta2=beta2, eps=1e-3, form="torch"), grads)
    other = Model()
    opt = torch.optim.Adam(other.parameters(), lr=0.1, betas=(beta1, beta2), eps=1e-3)
    for g in grads:
        other.a.grad, other.b.grad = g[:6].view(2, 3).clone(), g[6:].clone()
        opt.step()
    torch.testing.assert_close(model.a, other.a)
    torch.testing.assert_close(model.b, other.b)


def test_beta2_may_change_from_step_to_step():
    """As in torch.optim.Adam, when its betas are set before each step."""
    grads = gradients(5, 10)
    cfg = AdamConfig(lr=0.1, beta2=0.9, beta2_end=0.99, schedule_kimg=0.003, form="torch")
    model, other = Model(), Model()
    ours = Adam(model, cfg)
    opt = torch.optim.Adam(other.parameters(), lr=0.1)
    for nimg, g in enumerate(grads):
        ours.zero_grad()
        ((model.a * g[:6].view(2, 3)).sum() + (model.b * g[6:]).sum()).backward()
        ours.step(cfg.lr, cfg.beta2_after(nimg))
        other.a.grad, other.b.grad = g[:6].view(2, 3).clone(), g[6:].clone()
        opt.param_groups[0]["betas"] = (0.0, (0.9, 0.9225, 0.9675, 0.99, 0.99)[nimg])
        opt.step()
    torch.testing.assert_close(model.a, other.a)
    torch.testing.assert_close(model.b, other.b)


def test_tf_form_by_hand():
    grads = gradients(4, 10)
    cfg = AdamConfig(lr=0.1, beta1=0.3, beta2=0.9, eps=1e-3, form="tf")
    model, _ = run(cfg, grads)
    p = torch.cat([x.flatten() for x in Model().parameters()]).tolist()
    for i in range(10):
        m = v = 0.0
        for t, g in enumerate(grads, 1):
            m, v = 0.3 * m + 0.7 * g[i].item(), 0.9 * v + 0.1 * g[i].item() ** 2
            p[i] -= 0.1 * math.sqrt(1 - 0.9**t) / (1 - 0.3**t) * m / (math.sqrt(v) + 1e-3)
    torch.testing.assert_close(torch.cat([model.a.flatten(), model.b]).detach(), torch.tensor(p, dtype=torch.float64))


def test_scaled_losses_take_the_same_steps():
    """Whatever the scale, which halves at an overflow and grows by 2^0.0005 otherwise."""
    grads = gradients(5, 10)
    cfg = AdamConfig(lr=0.1, beta1=0.3, beta2=0.9, eps=1e-3, form="tf")
    expected, _ = run(cfg, grads)

    model = Model()
    opt = Adam(model, cfg, scales_loss=True)
    for step, g in enumerate(grads):
        if step == 2:
            opt.zero_grad()
            (model.a * math.inf).sum().backward()
            opt.step(cfg.lr)
        opt.zero_grad()
        ((model.a * g[:6].view(2, 3)).sum() * opt.loss_scale).backward()
        ((model.b * g[6:]).sum() * opt.loss_scale).backward()
        opt.step(cfg.lr)
    torch.testing.assert_close(model.a, expected.a)
    torch.testing.assert_close(model.b, expected.b)
    assert opt.log2_scale.item() == pytest.approx(16 - 1 + 5 * 0.0005) and opt.skipped.item() == 1

    # The scale is part of the state; older states have none.
    other = Adam(Model(), cfg, scales_loss=True)
    other.load_state_dict(opt.state_dict())
    assert torch.equal(other.log2_scale, opt.log2_scale) and other.loss_scale == opt.loss_scale
    state = {key: value for key, value in opt.state_dict().items() if key != "log2_scale"}
    fresh = Adam(Model(), cfg, scales_loss=True)
    fresh.load_state_dict(state)
    assert fresh.log2_scale.item() == 16 and Adam(Model(), cfg).loss_scale == 1


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_non_finite_step_changes_nothing_and_is_counted(bad):
    good = gradients(3, 10)
    broken = good[1].clone()
    broken[7] = bad
    with_bad, opt = run(AdamConfig(), [good[0], broken, good[1], good[2]])
    without, _ = run(AdamConfig(), good)
    assert torch.equal(with_bad.a, without.a) and torch.equal(with_bad.b, without.b)
    assert opt.skipped.item() == 1 and opt.t.item() == 3


def test_parameters_share_one_buffer():
    model, opt = run(AdamConfig(), gradients(1, 10))
    assert torch.equal(opt.flat[:6], model.a.flatten()) and torch.equal(opt.flat[64:68], model.b)
    assert model.b.data_ptr() % 64 == opt.flat.data_ptr() % 64 and opt.flat.sum() == model.a.sum() + model.b.sum()
    opt.flat.zero_()
    assert not model.a.any() and not model.b.any()


def test_a_checkpoint_holds_the_moments_of_the_parameters_alone():
    grads = gradients(4, 10)
    cfg = AdamConfig(beta1=0.5)
    _, opt = run(cfg, grads)
    stored = {name: tensor.clone() for name, tensor in opt.state_dict().items()}
    assert stored["m"].shape == stored["v"].shape == (10,)

    other = Adam(Model(), cfg)
    other.load_state_dict(stored)
    assert torch.equal(other.m, opt.m) and torch.equal(other.v, opt.v) and torch.equal(other.t, opt.t)
