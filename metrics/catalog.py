"""Every metric by its name. To add one: its file, a row of METRICS, a test, a line in docs/metrics.md."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dnnlib.errors import UserError
from metrics import path_length
from metrics.consistency import consistency
from metrics.context import Context, Measurement
from metrics.fid import fd_dinov2, fid, fid_full
from metrics.inception_score import inception_score
from metrics.kid import kid
from metrics.msssim import msssim
from metrics.precision_recall import precision_recall
from metrics.stability import stability
from metrics.swd import swd

MOST = 10**8  # images of a metric


@dataclass(frozen=True)
class Metric:
    """name: `{n}` stands where the number of images may be changed, e.g. fid{n} with 50k by default. compute: from a
    Context and that number to a Measurement, of whose values `key` is the one that is meant. version: grows when
    figures change. detector: the network through which it looks at images, if any."""

    name: str
    compute: Callable[..., Measurement]
    n: str
    key: str
    version: int = 1
    needs_previous: bool = False  # snapshot
    detector: str = ""

    @property
    def bare(self) -> bool:
        """True if it is also known without a number."""
        return self.name not in ("fid{n}", "fid{n}_full", "kid{n}", "is{n}", "pr{n}3")

    @property
    def usual(self) -> str:
        """Its name with the usual number."""
        return self.called(_count(self.n))

    def called(self, count: int) -> str:
        """Its name with a number of images: one name for one thing, however it was written."""
        if self.bare and count == _count(self.n):
            return self.name.replace("{n}", "")
        n = str(count) if count % 1000 else f"{count // 1000}k"
        front, back = self.name.split("{n}")
        return f"{front}{'_' if front[-1].isdigit() else ''}{n}{back}"


METRICS = (
    Metric("fid{n}", fid, "50k", "fid", detector="inception"),
    Metric("fid{n}_full", fid_full, "50k", "fid", detector="inception"),
    Metric("kid{n}", kid, "50k", "kid", detector="inception"),
    Metric("is{n}", inception_score, "50k", "is_mean", detector="inception"),
    Metric("pr{n}3", precision_recall, "50k", "precision", detector="vgg16"),
    Metric("ppl_zfull{n}", path_length.ppl_zfull, "100k", "ppl", detector="lpips"),
    Metric("ppl_wfull{n}", path_length.ppl_wfull, "100k", "ppl", detector="lpips"),
    Metric("ppl_zend{n}", path_length.ppl_zend, "100k", "ppl", detector="lpips"),
    Metric("ppl_wend{n}", path_length.ppl_wend, "100k", "ppl", detector="lpips"),
    Metric("ppl2_wend{n}", path_length.ppl2_wend, "50k", "ppl", detector="lpips"),
    Metric("fd_dinov2{n}", fd_dinov2, "50k", "fd_dinov2", detector="dinov2"),
    Metric("swd{n}", swd, "8k", "swd", version=2),
    Metric("msssim{n}", msssim, "20k", "msssim"),
    Metric("stability{n}", stability, "36", "stability", needs_previous=True),
    Metric("consistency{n}", consistency, "1k", "consistency"),
)


@dataclass(frozen=True)
class Chosen:
    """A metric and its number of images."""

    name: str
    metric: Metric
    n: int

    def __call__(self, context: Context, *previous: Any) -> Measurement:
        return self.metric.compute(context, *previous, n=self.n)


def choose(text: str) -> list[Chosen]:
    """Return the metrics named in `fid50k,swd,ppl_wend1k`. UserError for an unknown one."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UserError("--metrics: no metric named, expected e.g. fid50k,swd")
    return list({chosen.name: chosen for chosen in map(_choose, names)}.values())


def several(chosen: list[Chosen]) -> dict[str, int]:
    """Return the detectors through which more than one of the metrics look at fakes, and at how many at most."""
    counts: dict[str, list[int]] = {}
    for one in chosen:
        counts.setdefault(one.metric.detector, []).append(one.n)
    return {detector: max(n) for detector, n in counts.items() if detector and len(n) > 1}


def _choose(name: str) -> Chosen:
    for metric in METRICS:
        front, back = metric.name.split("{n}")
        number = r"(?:\d+k)" if back[:1].isdigit() else r"(?:\d+k?|_\d+k?)"  # digits behind need the k between
        match = re.fullmatch(rf"{front}({number})?{back}", name)
        if match and (match[1] or metric.bare):
            count = _count(match[1] or metric.n)
            if not 2 <= count <= MOST:
                raise UserError(f"{name}: {count} images, expected 2 to {MOST}")
            return Chosen(metric.called(count), metric, count)

    known = ", ".join(m.usual for m in METRICS)
    raise UserError(f"{name}: unknown metric, expected some of {known}, or such with another number, e.g. fid5k")


def _count(text: str) -> int:
    """Return 50000 for 50k, for _50k and for 50000."""
    digits = text.lstrip("_")
    return int(digits.removesuffix("k")) * (1000 if digits.endswith("k") else 1)
