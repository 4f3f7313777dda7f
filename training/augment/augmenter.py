"""Draws augmentations for the images that D sees, and adapts their probability."""

from collections.abc import Callable, Collection

import torch

from dnnlib.seeds import seed_of
from training.augment.ada import draw_ada
from training.augment.diffaugment import draw_diffaugment
from training.augment.random_numbers import RandomNumbers
from training.augment.steps import Augmentation
from training.spec import ImageSpec
from training.step_config import AugmentConfig

Draw = Callable[[RandomNumbers, int, int, Collection[str]], Augmentation]

# By AugmentConfig.name.
AUGMENTATIONS: dict[str, Draw] = {"ada": draw_ada, "diffaugment": draw_diffaugment}


class Augmenter:
    """The augmentation of a run: its probability p, which is part of the state of the run, and draws for micro-batches.

    p rises while D is too sure of the reals, and falls otherwise (Karras et al. 2020, section 3.1). Numbers stay on the
    device, so that no step waits for them.
    """

    def __init__(self, cfg: AugmentConfig, spec: ImageSpec, device: torch.device) -> None:
        self.cfg, self.spec = cfg, spec
        self.p = torch.full((), cfg.first_p, dtype=torch.float64, device=device)
        self.signal = torch.zeros(2, dtype=torch.float64, device=device)  # sum and count since p was last changed

    def draw(self, n: int, key: tuple[int | str, ...]) -> Augmentation:
        """Draw for n images. The result is a function of the key and p."""
        if self.cfg.name == "none":
            return ()
        rng = torch.Generator(self.p.device).manual_seed(seed_of(*key, "augment"))
        numbers = RandomNumbers(n, rng, self.p)
        return AUGMENTATIONS[self.cfg.name](numbers, self.spec.resolution, self.spec.width, self.cfg.chosen_parts)

    def adapt(self, signal: torch.Tensor, step: int, batch: int) -> None:
        """Take note of a D step, of all processes, and change p if it is time to.

        signal []: mean sign of what D thinks of the reals of this step, 1 = that all are real. step: its number.
        """
        cfg = self.cfg
        if not cfg.is_adaptive:
            return

        # A step with numbers that are not finite says nothing.
        is_finite = signal.isfinite()
        self.signal += torch.stack([torch.where(is_finite, signal, 0).double(), is_finite.double()])
        if (step + 1) % cfg.interval:
            return

        total, count = self.signal
        direction = (total - cfg.target * count).sign()
        self.p.add_(direction * (batch * count / (cfg.kimg * 1000))).clamp_(0, 1)
        self.signal.zero_()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return p and what it will be adapted by."""
        return {"p": self.p, "signal": self.signal}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `state_dict` returned."""
        self.p.copy_(state["p"])
        self.signal.copy_(state["signal"])
