"""One optimizer step of D or G: micro-batches, gradients over all processes, update."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from dnnlib import distributed
from training import pyramid
from training.data.labels import LabelTable
from training.latents import GeneratorInputs, Key, generator_inputs, mixing_factors, random_labels
from training.losses import LOSSES
from training.ops.opaque import tell_compiler
from training.optimizer import Adam
from training.precision import autocast
from training.state import TrainState
from training.step import REAL_SIGNS, RealBatch, StepResult, d_step, g_step


class OutOfMemory(Exception):
    """A step did not find the memory that it needs.

    In the first steps of a run, all processes raise it together; later, only the one that it happens to.
    """

    def __init__(self, where: str, images_per_pass: int, at_start: bool) -> None:
        super().__init__(f"out of memory {where}")
        self.images_per_pass, self.at_start = images_per_pass, at_start


class Updater:
    """Applies D and G steps to a TrainState; `labels` [M,c_dim] is the table that G's labels are drawn from."""

    def __init__(self, state: TrainState, labels: LabelTable) -> None:
        self.state, self.cfg, self.labels = state, state.cfg, labels
        self.device = state.ema_flat.device
        self.loss = LOSSES[self.cfg.loss.name]

        # Networks whose first step has been taken, so that its memory is known to suffice.
        self.has_fitted: set[str] = set()

        # Of D, what is not frozen.
        self.d_trained = [parameter for parameter in state.D.parameters() if parameter.requires_grad]

        # What the last D step saw, kept only where the G step needs it again.
        self.keeps_inputs = self.loss.g_compares or self.cfg.loss.same_latents
        self.last_inputs: list[tuple[RealBatch, GeneratorInputs]] = []

        # The shapes of a run never change, so the steps are compiled for these shapes only. A step must be one graph: a
        # break inside torch.func would give wrong numbers in silence.
        if self.cfg.compile:
            tell_compiler()
        compiled = partial(torch.compile, dynamic=False, fullgraph=True)
        maybe_compiled = compiled if self.cfg.compile else lambda step: step
        self.run_d: Callable[..., StepResult] = maybe_compiled(d_step)
        self.run_g: Callable[..., StepResult] = maybe_compiled(g_step)

    def d_update(self, images: np.ndarray, labels: np.ndarray, lr: float) -> None:
        """Take one step of D on this process's part of a batch; raise OutOfMemory if it does not fit.

        images: uint8 [batch/gpus,C,H,W]; labels: float32 [batch/gpus,c_dim].
        """
        self._within_memory("D", lambda: self._d_gradients(images, labels))
        self._finish("D", self.state.D_opt, lr)
        self._adapt_augmentation()

    def g_update(self, lr: float) -> None:
        """Take one step of G; raise OutOfMemory if it does not fit.

        Losses that look again at what D saw need a `d_update` before it.
        """
        self._within_memory("G", self._g_gradients)
        self._finish("G", self.state.G_opt, lr)

    def _within_memory(self, name: str, compute_gradients: Callable[[], None]) -> None:
        """Compute the gradients of a network on this process; raise OutOfMemory if memory runs out."""
        fits = True
        try:
            compute_gradients()
        except (MemoryError, RuntimeError) as e:
            fits = not is_out_of_memory(e)
            if fits:
                raise

        # Whether the first step fits may differ between processes, which then try again together.
        at_start = name not in self.has_fitted
        ranks = [] if fits else [distributed.rank()]
        if at_start:
            ranks = [rank for part in distributed.gather_objects(ranks) for rank in part]
        if ranks:
            where = f"in the {name} step at {self.state.where} on process {ranks[0]}"
            raise OutOfMemory(where, self.cfg.images_per_pass, at_start)
        self.has_fitted.add(name)

    def _d_gradients(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Compute the gradients of D on this process's part of a batch."""
        cfg, state = self.cfg, self.state
        state.D_opt.zero_grad()
        self.last_inputs.clear()

        # The factor on r1_gamma and r2_gamma, or None in the steps that leave them out. As a tensor it can change
        # without the step being compiled anew.
        factor = cfg.loss.reg_factor(state.cur_nimg, cfg.batch)
        reg_weight = None if factor is None else torch.full((), factor, device=self.device)

        # Each micro-batch adds its share of the gradients.
        image_parts = self._to_device(images).split(cfg.images_per_pass)
        label_parts = self._to_device(labels).split(cfg.images_per_pass)
        for x, c, key in zip(image_parts, label_parts, self._keys("D"), strict=True):
            reals = RealBatch(pyramid.from_uint8(x), c, state.augmenter.draw(len(x), (*key, "reals")))
            inputs = self._random_inputs(c, key)
            share = mixing_factors(cfg.images_per_pass, key, self.device) if self.loss.penalties else None

            with autocast(cfg.precision, self.device):
                result = self.run_d(state.G, state.D, cfg.loss, reals, inputs, reg_weight, share)
            self._accumulate(state.D_opt, result)
            if REAL_SIGNS in result.stats:
                state.D_opt.extra[-1] += result.stats[REAL_SIGNS].mean() * self._share

            if self.keeps_inputs:
                self.last_inputs.append((reals, inputs))

    def _g_gradients(self) -> None:
        """Compute the gradients of G on this process's part of a batch."""
        cfg, state = self.cfg, self.state
        state.G_opt.zero_grad()

        # D only passes gradients on to G; its own would be computed in vain.
        for parameter in self.d_trained:
            parameter.requires_grad_(False)
        for j, key in enumerate(self._keys("G")):
            inputs, reals = self._g_inputs(j, key)
            with autocast(cfg.precision, self.device):
                result = self.run_g(state.G, state.D, cfg.loss, inputs, reals)
            self._accumulate(state.G_opt, result)
        for parameter in self.d_trained:
            parameter.requires_grad_(True)

    def _adapt_augmentation(self) -> None:
        """Let the probability of augmentations follow what D thought of the reals in its last step."""
        state, cfg = self.state, self.cfg
        if cfg.augment.name == "none":
            return
        state.averages.add({"Progress/augment_p": state.augmenter.p})
        state.augmenter.adapt(state.D_opt.extra[-1], state.cur_nimg // cfg.batch, cfg.batch)

    def _to_device(self, array: np.ndarray) -> torch.Tensor:
        """Return an array as a tensor on the device, without waiting for the copy."""
        # A GPU copies by itself only from memory that stays in its place.
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _keys(self, purpose: str) -> list[Key]:
        """Return, for each micro-batch of this process, what its random inputs depend on."""
        cfg = self.cfg
        first = distributed.rank() * cfg.micro_batches

        # A run that was rolled back draws other inputs than those that it diverged with.
        again = (self.state.rollbacks,) if self.state.rollbacks else ()
        return [(cfg.seed, purpose, self.state.cur_nimg, first + j, *again) for j in range(cfg.micro_batches)]

    def _g_inputs(self, j: int, key: Key) -> tuple[GeneratorInputs, RealBatch | None]:
        """Return the inputs of G in micro-batch j, and the reals, if the loss compares fakes with them.

        Labels are those of the reals, or else drawn from the dataset's.
        """
        cfg = self.cfg
        reals = self.last_inputs[j][0] if self.loss.g_compares else None

        # BMSG-GAN trains G on the very fakes that D has just seen.
        if cfg.loss.same_latents:
            return self.last_inputs[j][1], reals

        c = reals.c if reals is not None else self._to_device(random_labels(self.labels, cfg.images_per_pass, key))
        return self._random_inputs(c, key), reals

    def _random_inputs(self, c: torch.Tensor, key: Key) -> GeneratorInputs:
        """Draw the inputs of G for labels [N,c_dim], and how its images are augmented."""
        inputs = generator_inputs(self.state.G, c, key, self.cfg.loss.style_mixing_prob)
        return inputs._replace(augmentation=self.state.augmenter.draw(len(c), key))

    def _accumulate(self, opt: Adam, result: StepResult) -> None:
        """Add a micro-batch's share of the gradients, of the mean of w, and of the statistics."""
        (result.loss * (self._share * opt.loss_scale)).backward()  # type: ignore[no-untyped-call]
        opt.extra[: len(result.w_mean)].add_(result.w_mean, alpha=self._share)  # summed with the gradients
        self.state.averages.add(result.stats)

    @property
    def _share(self) -> float:
        """Return the share that a micro-batch has in a step."""
        return 1 / (self.cfg.micro_batches * distributed.world_size())

    def _finish(self, name: str, opt: Adam, lr: float) -> None:
        """Bring gradients and means of w of all processes together, update the weights, and move w_avg."""
        opt.all_reduce()
        if self.cfg.gradient_norms:
            self.state.averages.add_finite(f"Gradients/{name}", opt.grad.norm() / opt.loss_scale)
        skipped = opt.step(lr, opt.cfg.beta2_after(self.state.cur_nimg))
        self.state.averages.add({f"Progress/skipped_share_{name}": skipped})
        w_avg = self.state.G.mapping.w_avg
        w_avg.lerp_(opt.extra[: len(w_avg)], 1 - self.cfg.G.w_avg_beta)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there was not enough memory, of a GPU or of the machine."""
    # PyTorch has a class of error for GPUs only.
    text = str(error).lower()
    phrases = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(phrase in text for phrase in phrases)
