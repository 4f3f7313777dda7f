"""What a metric says of a snapshot, as a row of a file and as lines to print."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnnlib.stats import format_time
from metrics.detectors.weights import Origin
from metrics.moments import BiasKind

# A bias is reported if it is this share of the distance, or this one where only a lower bound of it is known.
NOTABLE_BIAS = 0.05
NOTABLE_BOUND = 0.01


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a metric says of a snapshot, and all that it depends on."""

    metric: str
    """The name under which it is kept, see `title`."""
    version: int
    """Version of the metric, which grows when figures change."""
    snapshot: str
    """Name of the network file, empty for images."""
    kimg: float | None
    """Kimg of the snapshot, if its name tells."""
    value: float
    """The value that the metric's name means."""
    values: dict[str, float]
    """All values, by name."""
    facts: dict[str, Any]
    """What else the values depend on: seed, dataset, numbers of images, weights of detectors, ..."""
    seconds: float
    """Time it took."""

    def to_row(self) -> dict[str, Any]:
        """Return the object that metric-NAME.jsonl holds."""
        return {
            "metric": self.metric,
            "version": self.version,
            "snapshot": self.snapshot,
            "kimg": self.kimg,
            "value": self.value,
            "results": self.values,
            **self.facts,
            "seconds": self.seconds,
        }

    @staticmethod
    def from_row(row: dict[str, Any]) -> "Result":
        """Return what `to_row` wrote; raise KeyError if it is not a result."""
        # Older rows lack some keys.
        facts = dict(row)
        return Result(
            metric=facts.pop("metric"),
            version=facts.pop("version", 1),
            snapshot=facts.pop("snapshot"),
            kimg=facts.pop("kimg", None),
            value=facts.pop("value"),
            values=facts.pop("results", {}),
            seconds=facts.pop("seconds", 0.0),
            # What is left are the facts.
            facts=facts,
        )

    def conditions(self) -> dict[str, Any]:
        """Return what the result depends on besides the snapshots; results of equal conditions are comparable."""
        facts = {key: value for key, value in self.facts.items() if key != "previous"}
        return {"metric": self.metric, "version": self.version, **facts}

    def lines(self, with_conditions: bool) -> list[str]:
        """Return lines to print: the values, the bias if it matters, and the conditions if asked for."""
        # The snapshot, the metric, its values and the time that it took.
        values = "  ".join(f"{name} {value:.6g}" for name, value in self.values.items())
        snapshot = f"{self.snapshot}  " if self.snapshot else ""
        lines = [f"{snapshot}{self.metric}: {values}  ({format_time(self.seconds)})"]

        # Fréchet distances have a bias among their values.
        bias = sum(value for name, value in self.values.items() if name.endswith("_bias"))
        is_bound = self.facts.get("bias_is") == BiasKind.LOWER_BOUND
        if bias > abs(self.value) * (NOTABLE_BOUND if is_bound else NOTABLE_BIAS):
            how = "at least" if is_bound else "about"
            lines.append(f"  of this, {how} {bias:.3g} is due to the small number of images alone")

        # The name of the metric is in the first line already.
        if with_conditions:
            texts = [f"{name} {value}" for name, value in self.conditions().items() if name != "metric"]
            lines.append("  " + ", ".join(texts))

        return lines


def series(results: list[Result]) -> list[Result]:
    """Return the results that were measured in the same way and cover most snapshots; of equals, the first of them."""
    # Results of files whose names tell no kimg have no place on a curve.
    alike: dict[str, list[Result]] = {}
    for result in results:
        if result.kimg is not None:
            conditions = json.dumps(result.conditions(), sort_keys=True)
            alike.setdefault(conditions, []).append(result)

    return max(alike.values(), key=len, default=[])


def repeats_of(result: Result, results: list[Result]) -> list[Result]:
    """Return the results of the same snapshot that were measured in the same way, with any seed: one for each seed."""

    def without_seed(one: Result) -> dict[str, Any]:
        return {**one.conditions(), "seed": None}

    conditions = without_seed(result)
    alike = [one for one in results if one.kimg == result.kimg and without_seed(one) == conditions]
    return list({one.facts.get("seed"): one for one in alike}.values())


def title(name: str, facts: dict[str, Any]) -> str:
    """Return the name under which a metric's result is kept: that of the metric, marked if the result is of one class
    or of other weights than the published ones, whose figures must not go by the metric's name."""
    marks = {Origin.RANDOM: "-of-random-weights", Origin.OTHER: "-of-other-weights"}

    class_idx = facts.get("class")
    of_class = "" if class_idx is None else f"-class{class_idx}"
    return name + of_class + marks.get(facts.get("weights", Origin.PUBLISHED), "")


def kimg_of(snapshot: str) -> float | None:
    """Return the number in network-snapshot-000123.safetensors, or None if there is none."""
    # Steps of less than a kimg have a fraction: 000000.064.
    number = re.search(r"(?:^|-)(\d+(\.\d+)?)$", Path(snapshot).stem)
    return float(number[1]) if number else None
