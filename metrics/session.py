"""Measures the metrics of networks, or of a set of images, one after the other."""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dnnlib import distributed
from dnnlib.errors import UserError
from metrics import cache
from metrics.blocks import Stopped
from metrics.catalog import Chosen, choose, several
from metrics.context import Context
from metrics.detectors.detector import Detectors
from metrics.features import Facts, FeatureStore
from metrics.networks import Load, Snapshot
from metrics.result_files import ResultFiles
from metrics.results import Result, kimg_of, title
from metrics.samples import Fakes, Reals, Samples, members_of
from metrics.settings import Settings
from training.data.dataset import Dataset
from training.spec import ImageSpec, shape_text


class Session:
    """What the measurements of one call share: settings, the dataset of reals, loaded detectors, files of results."""

    def __init__(
        self,
        load: Load,
        settings: Settings,
        device: torch.device,
        dataset: Dataset | None,
        run_dir: Path | None,
        say: Callable[[str], None] = tqdm.write,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.load = load
        self.settings = settings
        self.metrics = choose(settings.metrics)
        self.device = device
        self.dataset = dataset
        self.say = say if distributed.is_main() else lambda text: None
        self.stop = stop

        # What was asked for and not measured.
        self.failures: list[str] = []

        # Loaded and opened when they are first needed.
        self.detectors = Detectors(settings.detectors, device)
        self.files = ResultFiles(run_dir, settings.out, self.say)

    def load_detectors(self) -> None:
        """Load all detectors that will be needed, so that a missing file is reported at once and not after hours."""
        # Looking up a detector loads it.
        for chosen in self.metrics:
            if chosen.metric.detector:
                self.detectors[chosen.metric.detector]

    def score_network(self, snapshot: Snapshot, keep_going: bool = False) -> None:
        """Measure all metrics of a network file.

        Raise UserError if that fails; with `keep_going`, print a warning and add to `failures` instead.
        """
        with self._or_warn(keep_going, f"{Path(snapshot.network).name} is not scored"):
            self.score_generator(self._open(snapshot.network), snapshot, keep_going)

    def score_images(self, dataset: Dataset) -> None:
        """Measure all metrics of a set of images."""
        snapshot = Snapshot("")
        self._score(snapshot, self._measurable(snapshot), lambda seed: Reals(dataset))

    def score_generator(self, G: Any, snapshot: Snapshot, keep_going: bool = False) -> None:
        """Measure all metrics of a generator, of all classes together and of each if so asked.

        Raise UserError if a metric fails; with `keep_going`, and for single classes, print a warning and add to
        `failures` instead. Raise UserError if the generator does not go with the dataset.
        """
        settings = self.settings
        name = Path(snapshot.network).name
        if settings.class_idx is not None and not 0 <= settings.class_idx < G.spec.c_dim:
            raise UserError(f"--class {settings.class_idx}: {name} has {G.spec.c_dim} classes")
        if self.dataset is not None:
            _check_fit(G.spec, self.dataset, name)

        # None stands for all classes together.
        classes = [settings.class_idx]
        if settings.per_class:
            classes += range(G.spec.c_dim)

        # The labels of fakes are drawn from those of the dataset.
        metrics = self._measurable(snapshot)
        labels = self.dataset.labels if self.dataset else None
        for class_idx in dict.fromkeys(classes):

            def draw(seed: int, class_idx: int | None = class_idx) -> Fakes:
                return Fakes(G, self.device, seed, labels, settings.trunc, class_idx)

            # A class may have too few images to be compared with.
            is_one_of_many = settings.per_class and class_idx is not None
            is_optional = keep_going or is_one_of_many
            what = "it is" if class_idx is None else f"class {class_idx} is"
            with self._or_warn(is_optional, f"{name}: {what} left out", counts=not is_one_of_many):
                self._score(snapshot, metrics, draw, class_idx, is_optional)

    def _open(self, network: str) -> Any:
        """Open the generator of a network file without touching the global random state."""
        # The constructor draws initial weights, which are then replaced.
        with torch.random.fork_rng(devices=[]):
            return distributed.together(lambda: self.load(network).generator().to(self.device))

    def _measurable(self, snapshot: Snapshot) -> list[Chosen]:
        """Return the metrics that can be measured; those that lack an earlier snapshot are reported."""
        metrics = [chosen for chosen in self.metrics if snapshot.previous or not chosen.metric.needs_previous]
        for chosen in self.metrics:
            if chosen not in metrics:
                name = Path(snapshot.network).name
                self.say(f"{name}: {chosen.name}: left out, there is no earlier snapshot to compare with")
        return metrics

    def _score(
        self,
        snapshot: Snapshot,
        metrics: list[Chosen],
        draw: Callable[[int], Samples],
        class_idx: int | None = None,
        is_optional: bool = False,
    ) -> None:
        """Measure the metrics of `draw(seed)` with each seed, and print their spread over the seeds."""
        settings = self.settings
        members = None
        if self.dataset is not None and class_idx is not None:
            members = members_of(self.dataset, class_idx)

        # With each seed other fakes are drawn, so nothing is shared between repetitions but the detectors.
        name = Path(snapshot.network).name
        values: dict[str, list[float]] = {}
        first = settings.seed or 0
        for seed in range(first, first + settings.repeats):
            context = Context(
                draw(seed),
                self.dataset,
                self.device,
                self.detectors,
                FeatureStore(settings.batch, several(metrics), settings.cache_dir or cache.default_folder(), self.stop),
                members=members,
                settings=settings,
                seed=seed,
                previous=partial(self._open, snapshot.previous) if snapshot.previous else None,
            )
            for chosen in metrics:
                counts = not (settings.per_class and class_idx is not None)
                with self._or_warn(is_optional, f"{name}: {chosen.name} failed", counts):
                    result = self._measure(chosen, context, snapshot)
                    values.setdefault(result.metric, []).append(result.value)

        # The deviation is that of single measurements, not of their mean.
        for metric, repeated in values.items():
            if len(repeated) > 1:
                mean, std = np.mean(repeated), np.std(repeated, ddof=1)
                self.say(f"{metric}: {mean:.6g} ± {std:.3g} over {len(repeated)} seeds")

    @contextlib.contextmanager
    def _or_warn(self, is_optional: bool, failure: str, counts: bool = True) -> Iterator[None]:
        """Turn an error into a warning if what is computed is optional, and into a failure if it counts as one."""
        try:
            yield
        except Stopped:
            raise
        except Exception as e:
            if not is_optional:
                raise
            reason = str(e) if isinstance(e, UserError) else f"{type(e).__name__}: {e}"
            if counts:
                self.failures.append(f"{failure}: {reason}")
            self.say(f"warning: {failure}: {reason}")

    def _measure(self, chosen: Chosen, context: Context, snapshot: Snapshot) -> Result:
        """Measure one metric; keep the result and print it."""
        start = time.perf_counter()
        measurement = chosen(context)
        seconds = time.perf_counter() - start

        facts: Facts = {"seed": context.seed} | measurement.facts
        if chosen.metric.needs_previous:
            facts["previous"] = Path(snapshot.previous or "").name

        # The first value is the one that goes by the metric's name.
        name = Path(snapshot.network).name
        result = Result(
            metric=title(chosen.name, facts),
            version=chosen.metric.version,
            snapshot=name,
            kimg=kimg_of(name),
            value=next(iter(measurement.values.values())),
            values=measurement.values,
            facts=facts,
            seconds=round(seconds, 1),
        )

        # A result is kept before it is printed, so that no printed result is missing from the files.
        if distributed.is_main():
            self.files.keep(result)
        for line in result.lines(with_conditions=not (self.files.run_dir or self.files.out)):
            self.say(line)
        return result


def _check_fit(spec: ImageSpec, dataset: Dataset, name: str) -> None:
    """Raise UserError if a network and a dataset do not go together; one without labels fits any classes."""
    expected = dataset.spec
    if spec.c_dim and expected.c_dim and spec.c_dim != expected.c_dim:
        raise UserError(f"{name}: has {spec.c_dim} classes, expected {expected.c_dim} as in {dataset.name}")

    # Only the largest level is compared: the others follow from it.
    if spec.shape != expected.shape:
        made, size = shape_text(spec.shape), shape_text(expected.shape)
        raise UserError(f"{name}: makes images of {made}, expected {size} as in {dataset.name}")
