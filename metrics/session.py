"""What the measurements of one call share: settings, the dataset, loaded detectors, and where results go."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dnnlib import distributed
from dnnlib.errors import UserError
from metrics import results
from metrics.catalog import Chosen, several
from metrics.context import Context
from metrics.detectors.detector import Detector, DetectorOptions
from metrics.features import default_cache
from metrics.moments import BiasKind
from metrics.networks import NetworkFile, Snapshot
from metrics.results import Result
from metrics.samples import Fakes, OfClass, Reals, Samples
from training.data.dataset import Dataset

NOTABLE_BIAS = 0.05  # share of a distance from which its bias is reported
NOTABLE_BOUND = 0.01  # the same if only a lower bound of it is known


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure; the options of run_metrics.py have the same names."""

    metrics: list[Chosen]
    """in this order"""
    detectors: DetectorOptions = field(default_factory=DetectorOptions)
    """weights and precision of detectors"""
    mirror: bool = False
    """mirror reals at random"""
    seed: int = 0
    """of latents and all other draws"""
    batch: int = 32
    """images at a time"""
    trunc: float = 1.0
    """truncation psi of the fakes"""
    crop: str | None = None
    """what path lengths look at: face or none; None = as the metric says"""
    class_idx: int | None = None
    """fakes and reals of one class only"""
    per_class: bool = False
    """also score each class by itself"""
    repeats: int = 1
    """times to measure, each with the next seed"""
    cache_dir: Path | None = None
    """statistics of reals are kept here; None = the user's cache"""
    out: Path | None = None
    """file to which results are added as JSON lines"""


class Session:
    """Measures one generator, or one set of images, after the other."""

    def __init__(
        self,
        load: Callable[[str], NetworkFile],
        settings: Settings,
        device: torch.device,
        dataset: Dataset | None,
        run_dir: Path | None,
        say: Callable[[str], None] = tqdm.write,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.load = load
        self.settings = settings
        self.device = device
        self.dataset = dataset
        self.run_dir = run_dir
        self.say = say if distributed.is_main() else lambda text: None
        self.stop = stop
        self.detectors: dict[str, Detector] = {}  # loaded so far
        self.events: Any = None  # TensorBoard's writer

    def load_detectors(self) -> None:
        """Load all detectors that will be needed, so that a missing file is reported at once and not after hours."""
        names = dict.fromkeys(chosen.metric.detector for chosen in self.settings.metrics if chosen.metric.detector)
        for name in names:
            self.detectors[name] = distributed.main_first(
                lambda: Detector(name, self.settings.detectors, self.device)  # noqa: B023
            )

    def score_network(self, snapshot: Snapshot) -> None:
        """Measure all metrics of a network file."""
        self.score_generator(self._open(snapshot.network), snapshot)

    def score_images(self, dataset: Dataset) -> None:
        """Measure all metrics of a set of images."""
        metrics = self._measurable("", None)
        self._score_repeatedly(Snapshot(""), metrics, None, lambda seed: Reals(dataset), keep_going=False)

    def score_generator(self, G: Any, snapshot: Snapshot, keep_going: bool = False) -> None:
        """Measure all metrics of a generator. UserError if one fails, or with `keep_going` a warning."""
        settings = self.settings
        name = Path(snapshot.network).name
        if settings.class_idx is not None and not 0 <= settings.class_idx < G.spec.c_dim:
            raise UserError(f"--class {settings.class_idx}: {name} has {G.spec.c_dim} classes")
        if self.dataset is not None:
            _check_fit(G.spec, self.dataset, name)

        metrics = self._measurable(name, snapshot.previous)
        classes = [settings.class_idx]
        if settings.per_class:
            classes += range(G.spec.c_dim)

        for class_idx in dict.fromkeys(classes):
            labels = self.dataset.labels if self.dataset else None

            def fakes(seed: int, class_idx: int | None = class_idx, labels: Any = labels) -> Samples:
                return Fakes(G, self.device, seed, labels, settings.trunc, class_idx)

            optional = settings.per_class and class_idx is not None
            self._score_repeatedly(snapshot, metrics, class_idx, fakes, keep_going or optional)

    def _open(self, network: str) -> Any:
        """Open the generator of a network file without touching the global random state."""
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and replaced
            return self.load(network).generator().to(self.device)

    def _measurable(self, name: str, previous: str | None) -> list[Chosen]:
        """Return the metrics that can be measured; those that lack an earlier snapshot are reported."""
        metrics = []
        for chosen in self.settings.metrics:
            if chosen.metric.needs_previous and previous is None:
                self.say(f"{name}: {chosen.name}: left out, there is no earlier snapshot to compare with")
            else:
                metrics.append(chosen)
        return metrics

    def _score_repeatedly(
        self,
        snapshot: Snapshot,
        metrics: list[Chosen],
        class_idx: int | None,
        samples: Callable[[int], Samples],
        keep_going: bool,
    ) -> None:
        """Measure the metrics of `samples(seed)` with each seed, and print the spread over seeds."""
        name = Path(snapshot.network).name
        seed = self.settings.seed
        values: dict[str, list[float]] = {}
        for repeat in range(seed, seed + self.settings.repeats):
            with self._warning_only(keep_going, f"{name}: class {class_idx} is left out"):
                context = self._context(samples(repeat), repeat, class_idx, metrics)
                for chosen in metrics:
                    with self._warning_only(keep_going, f"{name}: {chosen.name} failed"):
                        result = self._measure(chosen, context, snapshot)
                        values.setdefault(result.metric, []).append(result.value)

        for metric, repeated in values.items():
            if len(repeated) > 1:
                mean, std = np.mean(repeated), np.std(repeated, ddof=1)
                self.say(f"{metric}: {mean:.6g} ± {std:.3g} over {len(repeated)} seeds")

    @contextlib.contextmanager
    def _warning_only(self, optional: bool, what: str) -> Iterator[None]:
        """Turn a UserError into a warning if what is computed is optional."""
        try:
            yield
        except UserError as e:
            if not optional:
                raise
            self.say(f"warning: {what}: {e}")

    def _context(self, samples: Samples, seed: int, class_idx: int | None, metrics: list[Chosen]) -> Context:
        """Gather what the metrics are given, for one seed and class."""
        settings = self.settings
        reals = self.dataset
        if class_idx is not None and reals is not None:
            reals = OfClass(reals, class_idx)
        return Context(
            samples,
            reals,
            self.device,
            settings.detectors,
            mirror=settings.mirror,
            seed=seed,
            crop=settings.crop,
            loaded=self.detectors,
            batch=settings.batch,
            shared=several(metrics),
            cache_dir=settings.cache_dir or default_cache(),
            stop=self.stop,
        )

    def _measure(self, chosen: Chosen, context: Context, snapshot: Snapshot) -> Result:
        """Measure one metric; keep the result and print it."""
        start = time.perf_counter()
        facts: dict[str, Any] = {"seed": context.seed}
        earlier = []
        if chosen.metric.needs_previous and snapshot.previous:
            previous = snapshot.previous
            earlier = [context.generator().of(distributed.together(lambda: self._open(previous)))]
            facts["previous"] = Path(previous).name
        measurement = chosen(context, *earlier)
        facts |= measurement.facts
        seconds = distributed.broadcast_object(time.perf_counter() - start)

        name = Path(snapshot.network).name
        result = Result(
            metric=results.title(chosen.name, facts),
            version=chosen.metric.version,
            snapshot=name,
            kimg=results.kimg_of(name),
            value=measurement.values[chosen.metric.key],
            values=measurement.values,
            facts=facts,
            seconds=round(seconds, 1),
        )
        if distributed.is_main():
            self._keep(result)
        self._print(result, chosen.metric.key)
        return result

    def _print(self, result: Result, key: str) -> None:
        """Print a result, its bias if that matters, and its conditions if they are written nowhere else."""
        self.say(result.line())

        bias = result.values.get(f"{key}_bias", 0)
        is_bound = result.facts.get("bias_is") == BiasKind.LOWER_BOUND
        if bias > abs(result.value) * (NOTABLE_BOUND if is_bound else NOTABLE_BIAS):
            how = "at least" if is_bound else "about"
            self.say(f"  of this, {how} {bias:.3g} is due to the small number of images alone")

        if self.settings.out is None and self.run_dir is None:
            conditions = result.conditions()
            self.say("  " + ", ".join(f"{name} {value}" for name, value in conditions.items() if name != "metric"))

    def _keep(self, result: Result) -> None:
        """Write a result into --out and the files of the run; a failure is a warning."""
        places = ((self.settings.out, results.append), (self.run_dir, self._keep_in_run))
        for place, keep in places:
            if place is None:
                continue
            try:
                keep(place, result)
            except (UserError, OSError) as e:
                self.say(f"warning: {place}: the result is not kept there: {e}")

    def _keep_in_run(self, run_dir: Path, result: Result) -> None:
        """Write a result into the metric's file, TensorBoard and the plot of the run."""
        series = results.keep(run_dir, result)
        if any(kept.to_row() == result.to_row() for kept in series):
            self.events = self.events or results.open_events(run_dir)
            results.to_tensorboard(self.events, result)
        if len(series) > 1:
            results.plot(run_dir, result.metric, series)


def _check_fit(spec: Any, dataset: Dataset, name: str) -> None:
    """Raise UserError if a network and a dataset do not go together; one without labels fits any classes."""
    if spec.c_dim and dataset.spec.c_dim and spec.c_dim != dataset.spec.c_dim:
        raise UserError(f"{name}: has {spec.c_dim} classes, expected {dataset.spec.c_dim} as in {dataset.name}")

    made = (spec.channels, spec.resolution, spec.resolution)
    expected = (dataset.spec.channels, dataset.spec.resolution, dataset.spec.resolution)
    if made != expected:
        made_text, expected_text = ("x".join(map(str, shape)) for shape in (made, expected))
        raise UserError(f"{name}: makes images of {made_text}, expected {expected_text} as in {dataset.name}")
