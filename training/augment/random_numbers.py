"""Random numbers of N samples, of which a share p is changed."""

from collections.abc import Iterable

import torch


class RandomNumbers:
    """Draws for each of n samples from a generator. p: float64 [], the probability of each change."""

    def __init__(self, n: int, rng: torch.Generator, p: torch.Tensor) -> None:
        self.n, self.rng, self.p = n, rng, p
        self.device = p.device

    def uniform(self, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Draw float64 [N] uniformly."""
        u = torch.rand(self.n, generator=self.rng, device=self.device, dtype=torch.float64)
        return u * (high - low) + low

    def normal(self, deviation: float) -> torch.Tensor:
        """Draw float64 [N] from a normal distribution with mean 0 and this standard deviation."""
        return torch.randn(self.n, generator=self.rng, device=self.device, dtype=torch.float64) * deviation

    def chosen(self, values: torch.Tensor, otherwise: float, p: torch.Tensor | None = None) -> torch.Tensor:
        """Keep each value [N] with probability p, and put `otherwise` in place of the others."""
        [kept] = self.chosen_together((values,), otherwise, p)
        return kept

    def chosen_together(
        self, values: Iterable[torch.Tensor], otherwise: float, p: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        """Keep for each sample either all values [N] or none."""
        is_chosen = self.uniform() < (self.p if p is None else p)
        return [torch.where(is_chosen, v.double(), otherwise) for v in values]
