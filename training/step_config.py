"""Typed options of what a training step consists of: optimizers, loss and augmentation. Imports no torch."""

import math
from dataclasses import dataclass
from typing import Literal

from training.spec import check, check_range

# What each kind of augmentation changes.
AUGMENT_PARTS = {
    "none": (),
    "ada": ("blit", "geometry", "color"),
    "diffaugment": ("color", "translation", "cutout"),
}


def half_cosine(start: float, end: float, nimg: int, kimg: float) -> float:
    """Return where a schedule from `start` to `end`, `kimg` thousand images long, is after `nimg` images.

    Source: R3GAN (Huang et al. 2024, appendix), whose schedules all have this form. Without a length, it stays at
    `start`.
    """
    progress = min(nimg / (kimg * 1000), 1.0) if kimg else 0.0
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True, kw_only=True)
class AdamConfig:
    """Optimizer of one network."""

    lr: float = 0.003
    """Learning rate."""
    beta1: float = 0.0
    """Decay of the first moment."""
    beta2: float = 0.99
    """Decay of the second moment."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    form: Literal["tf", "torch"] = "tf"
    """Where eps is added: before (tf, as in the published MSG-StyleGAN) or after (torch) the bias correction of the
    second moment. The two differ only where gradients are tiny, in the first steps."""
    lr_end: float = 1.0
    """Factor that lr has reached at the end of the schedule, which starts at 1 (R3GAN: 0.25)."""
    beta2_end: float | None = None
    """What beta2 has become at the end of the schedule (R3GAN: from 0.9 to 0.99); None = it stays."""
    schedule_kimg: float = 0.0
    """Length of the schedule of lr and beta2 (half a cosine) in thousands of images; 0 = no schedule."""

    def __post_init__(self) -> None:
        check_range(self, "lr", 0, 1e3, "0 to 1000")
        check(0 < self.eps <= 1, f"eps: found {self.eps}, expected > 0, <= 1")
        check(0 <= self.beta1 < 1 and 0 <= self.beta2 < 1, "beta1, beta2: expected in [0, 1)")
        check(self.beta2_end is None or 0 <= self.beta2_end < 1, "beta2_end: expected in [0, 1)")
        check_range(self, "lr_end", 0, 1e3, "0 to 1000")
        check_range(self, "schedule_kimg", 0, 1e9, "0 to 10^9")

    def lr_after(self, nimg: int) -> float:
        """Return the learning rate after `nimg` images, before the factor that both networks share."""
        return half_cosine(self.lr, self.lr * self.lr_end, nimg, self.schedule_kimg)

    def beta2_after(self, nimg: int) -> float:
        """Return beta2 after `nimg` images."""
        end = self.beta2 if self.beta2_end is None else self.beta2_end
        return half_cosine(self.beta2, end, nimg, self.schedule_kimg)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What D and G minimise."""

    name: str = "logistic"
    """Name of the loss, e.g. logistic, wgan-gp, hinge, lsgan, relativistic-pairing; docs/losses.md lists all of them
    and says when to use which."""

    # R1 and R2, which every loss can have.
    r1_gamma: float = 10.0
    """Weight of R1, the gradient penalty on reals, averaged over levels."""
    r2_gamma: float = 0.0
    """Weight of R2, the same on fakes."""
    reg_interval: int = 1
    """Apply R1 and R2 in every N-th D step at N times the weight; 1 = every step, as in the original."""
    gamma_end: float = 1.0
    """Factor that r1_gamma and r2_gamma have reached at the end of their schedule, which starts at 1 (R3GAN: 0.1)."""
    gamma_kimg: float = 0.0
    """Length of the schedule of both gammas (half a cosine) in thousands of images; 0 = no schedule."""

    # Penalties that belong to some losses.
    gp_weight: float = 10.0
    """Weight of the gradient penalty of wgan-gp and hinge-gp, averaged over levels (TF: wgan_lambda)."""
    gp_target: float = 1.0
    """Gradient norm that the gradient penalty of wgan-gp and hinge-gp aims at (TF: wgan_target)."""
    drift: float = 0.001
    """Weight of the squared score of reals in wgan and wgan-gp (TF: wgan_epsilon)."""

    # What G is given.
    style_mixing_prob: float = 0.0
    """Probability that a micro-batch mixes styles, that is, uses a second latent from a random layer onwards (StyleGAN:
    0.9; the original MSG-StyleGAN ignored it)."""
    same_latents: bool = False
    """Use the latents and labels of the preceding D step in the G step, as BMSG-GAN does; otherwise draw fresh ones."""

    def __post_init__(self) -> None:
        check_range(self, "r1_gamma r2_gamma gamma_end gp_weight drift", 0, 1e6, "0 to 10^6")
        check_range(self, "gp_target", 1e-6, 1e6, "10^-6 to 10^6")
        check_range(self, "gamma_kimg", 0, 1e9, "0 to 10^9")
        check_range(self, "reg_interval", 1)
        check(0 <= self.style_mixing_prob <= 1, "style_mixing_prob: expected in [0, 1]")

    def gamma_factor(self, nimg: int) -> float:
        """Return what the schedule multiplies r1_gamma and r2_gamma by after `nimg` images."""
        return half_cosine(1.0, self.gamma_end, nimg, self.gamma_kimg)

    def reg_factor(self, nimg: int, batch: int) -> float | None:
        """Return the factor on r1_gamma and r2_gamma in the D step after `nimg` images, None if it has no penalty."""
        step = nimg // batch
        if step % self.reg_interval:
            return None

        # Seldom but stronger, the penalty has the same effect on average (lazy regularisation: StyleGAN2, section 3.1).
        return self.reg_interval * self.gamma_factor(nimg)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of all images that D sees, so that it cannot memorise a small dataset."""

    name: Literal["none", "ada", "diffaugment"] = "none"
    """none; ada = flips, turns, scaling, shifts and colours, as often as D needs it (Karras et al. 2020); diffaugment =
    colours, shifts and cutout, always (Zhao et al. 2020)."""
    parts: str = "all"
    """What to change, separated by commas. ada: blit, geometry, color; diffaugment: color, translation, cutout."""
    p: float | None = None
    """Probability of each change; None = ada adapts it, diffaugment takes 1. With ada and more than 0.8, generated
    images may begin to show the changes."""
    target: float = 0.6
    """Mean sign of D's scores of reals that ada aims at: the higher, the more certain D may become."""
    kimg: float = 500.0
    """Thousands of images in which ada can raise p from 0 to 1."""
    interval: int = 4
    """D steps after which ada changes p."""

    def __post_init__(self) -> None:
        check(self.p is None or 0 <= self.p <= 1, f"p: found {self.p}, expected 0 to 1")
        check(self.p is None or self.name != "none", "p: expected --augment.name ada or diffaugment as well")
        check_range(self, "target", -1, 1, "-1 to 1")
        check_range(self, "kimg", 0.001, 1e9, "0.001 to 10^9")
        check_range(self, "interval", 1)

        known = ("all", *AUGMENT_PARTS[self.name])
        is_known = all(part in known for part in self.parts.split(","))
        check(is_known, f"parts: found {self.parts}, expected some of {', '.join(known)}")

    @property
    def chosen_parts(self) -> tuple[str, ...]:
        """Return the names of the changes, in the order of AUGMENT_PARTS."""
        names = self.parts.split(",")
        return tuple(part for part in AUGMENT_PARTS[self.name] if part in names or "all" in names)

    @property
    def is_adaptive(self) -> bool:
        """Whether p follows D."""
        return self.name == "ada" and self.p is None

    @property
    def first_p(self) -> float:
        """Probability that a run starts with."""
        return self.p if self.p is not None else float(self.name == "diffaugment")
