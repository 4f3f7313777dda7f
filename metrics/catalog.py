"""Every metric by its name. To add one: its file, a row of METRICS, a test, a line in docs/metrics.md."""

import re
from collections.abc import Callable
from dataclasses import dataclass

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
    """A metric, and the number of images that it usually looks at.

    name: its usual name; if that contains `n`, other numbers take the place of `n` there (fid50k, fid5k), otherwise
    they follow the name (swd, swd500). compute: measures it with a number of images, `n`. detector: the network
    through which it looks at images, if any. needs_previous: does it compare with the snapshot before? version: grows
    when figures change.
    """

    name: str
    compute: Callable[..., Measurement]
    n: str
    detector: str = ""
    needs_previous: bool = False
    version: int = 1

    def name_with(self, count: int) -> str:
        """Return its name with a number of images: the same one, however it was written."""
        if count == _count(self.n):
            return self.name

        # The number must not run into a digit of the name: fd_dinov2_5k.
        front, _, back = self.name.partition(self.n)
        separator = "_" if front[-1].isdigit() else ""
        n = str(count) if count % 1000 else f"{count // 1000}k"
        return f"{front}{separator}{n}{back}"


METRICS = (
    # Metrics of features.
    Metric("fid50k", fid, "50k", "inception"),
    Metric("fid50k_full", fid_full, "50k", "inception"),
    Metric("kid50k", kid, "50k", "inception"),
    Metric("is50k", inception_score, "50k", "inception"),
    Metric("pr50k3", precision_recall, "50k", "vgg16"),
    # Path lengths; the number is that of pairs.
    Metric("ppl_zfull", path_length.ppl_zfull, "100k", "lpips"),
    Metric("ppl_wfull", path_length.ppl_wfull, "100k", "lpips"),
    Metric("ppl_zend", path_length.ppl_zend, "100k", "lpips"),
    Metric("ppl_wend", path_length.ppl_wend, "100k", "lpips"),
    Metric("ppl2_wend", path_length.ppl2_wend, "50k", "lpips"),
    # The same distance as FID's, of other features.
    Metric("fd_dinov2", fd_dinov2, "50k", "dinov2"),
    # Metrics that need no weights.
    Metric("swd", swd, "8k", version=2),
    Metric("msssim", msssim, "20k"),
    Metric("stability", stability, "36", needs_previous=True),
    Metric("consistency", consistency, "1k"),
)


@dataclass(frozen=True)
class Chosen:
    """A metric and its number of images."""

    name: str
    metric: Metric
    n: int

    def __call__(self, context: Context) -> Measurement:
        return self.metric.compute(context, n=self.n)


def choose(text: str) -> list[Chosen]:
    """Return the metrics named in `fid50k,swd,ppl_wend1k`; raise UserError for an unknown one."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UserError("--metrics: no metric named, expected e.g. fid50k,swd")

    # Equal metrics are measured once, however they are written.
    return list({chosen.name: chosen for chosen in map(_choose, names)}.values())


def several(chosen: list[Chosen]) -> dict[str, int]:
    """Return the detectors through which more than one of the metrics look at fakes, and at how many at most."""
    counts: dict[str, list[int]] = {}
    for one in chosen:
        counts.setdefault(one.metric.detector, []).append(one.n)
    return {detector: max(n) for detector, n in counts.items() if detector and len(n) > 1}


def _choose(name: str) -> Chosen:
    """Return the metric of one name."""
    for metric in METRICS:
        # Before a digit of the name a number ends in k, as in pr50k3.
        front, usual, back = metric.name.partition(metric.n)
        number = r"\d+k" if back[:1].isdigit() else r"_?\d+k?"
        match = re.fullmatch(rf"{front}({number}){'' if usual else '?'}{back}", name)
        if match:
            count = _count(match[1] or metric.n)
            if not 2 <= count <= MOST:
                raise UserError(f"{name}: {count} images, expected 2 to {MOST}")
            return Chosen(metric.name_with(count), metric, count)

    known = ", ".join(metric.name for metric in METRICS)
    raise UserError(f"{name}: unknown metric, expected some of {known}, or such with another number, e.g. fid5k")


def _count(text: str) -> int:
    """Return 50000 for 50k, for _50k and for 50000."""
    digits = text.lstrip("_")
    return int(digits.removesuffix("k")) * (1000 if digits.endswith("k") else 1)
