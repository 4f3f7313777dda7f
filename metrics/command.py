"""run_metrics.py's command, and the hook by which training scores its snapshots."""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
import tyro
from tqdm import tqdm

from dnnlib import cli, distributed
from dnnlib.errors import UserError
from dnnlib.launch import INTERRUPTED, launch
from dnnlib.pool import cpu_count
from metrics import results
from metrics.catalog import Chosen, choose, several
from metrics.context import Context, default_cache
from metrics.detectors.detector import DETECTORS, Detector, DetectorOptions, find_weights
from metrics.samples import Fakes, OfClass, Reals, Samples, Stopped
from training.data.dataset import Dataset, open_dataset
from training.run.hooks import SavedSnapshot


class NetworkFile(Protocol):
    """What is needed of an opened network file (pretrained.network_file.NetworkFile)."""

    spec: Any

    def generator(self) -> Any: ...


BIASED = 0.05  # share of a distance from which its bias is worth telling
Flag = tyro.conf.FlagCreatePairsOff
Load = Callable[[str], NetworkFile]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score networks, or a set of images, against a dataset."""

    network: str | None = None
    """network file of any kind or its URL, or a run dir of train.py"""
    run_id: int | None = None
    """number of a run dir instead, looked for in --result-dir"""
    result_dir: Path = Path("results")
    """where run dirs are"""
    snapshot: str = "latest"
    """of a run dir: its kimg, latest, or all"""
    images: Path | None = None
    """score these images instead of a network: a dataset of any form"""
    metrics: str = "swd"
    """names, separated by commas; fid50k, kid50k, is50k, pr50k3, ppl_wend, swd, ...: see docs/metrics.md"""
    data: Path | None = None
    """dataset of reals; default: that of the run"""
    mirror: Annotated[bool, Flag] = False
    """mirror reals at random; done anyway for the snapshots of a run that was trained so"""
    trunc: float = 1.0
    """truncation psi of the fakes; 1 = none, as published figures have it"""
    crop: Literal["face", "none"] | None = None
    """what path lengths look at: the region of an aligned face, or all; default: face, but all for ppl2_wend"""
    class_idx: Annotated[int | None, tyro.conf.arg(name="class")] = None
    """fakes of one class only, against reals of that class"""
    per_class: Annotated[bool, Flag] = False
    """also score each class by itself"""
    seed: int | None = None
    """of latents and all other draws; default: that of the run, else 0"""
    repeats: int = 1
    """times to measure with other seeds: mean and deviation are printed"""
    batch: int = 32
    """images at a time; changes no result beyond rounding"""
    gpus: int = 1
    """processes, one a GPU; results do not depend on it"""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """auto = cuda if there is one"""
    cache_dir: Path | None = None
    """statistics of reals are kept here; default: ~/.cache/msg-gan/metrics"""
    out: Path | None = None
    """file to which results are added as JSON lines, besides those of the run dir"""
    use_labels: tyro.conf.Suppress[bool] = True
    detectors: Annotated[DetectorOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=DetectorOptions)

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.network, self.run_id, self.images)) != 1:
            raise ValueError("expected one of --network, --run-id and --images")
        for name in ("repeats", "batch", "gpus"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: expected >= 1")
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"--seed {self.seed}: expected >= 0")
        if self.images is not None and (self.class_idx is not None or self.per_class):
            raise ValueError("--class and --per-class: expected a network, not --images, with them")
        if not -10 <= self.trunc <= 10:
            raise ValueError(f"--trunc {self.trunc}: expected -10 to 10")


def main(load: Load) -> int:
    """Parse the command line and run; `load` opens network files."""
    parse = partial(tyro.cli, Options, prog="run_metrics.py", description=Options.__doc__)
    options: Options = cli.one_line_errors(parse)
    choose(options.metrics)
    return launch(partial(evaluate, load), options, options.gpus)


def evaluate(load: Load, o: Options) -> None:
    """What the options ask for; called once in each process."""
    device = distributed.pick_device(o.device)
    if device.type == "cpu" and o.gpus > 1:
        torch.set_num_threads(max(1, cpu_count() // o.gpus))
    distributed.init(device)
    main, interrupted = distributed.is_main(), False
    try:
        networks, run_dir, o = distributed.on_main(lambda: _resolve(o))  # a run may be going on: all see the same
        first = networks[0][0]
        resolution = load(first).spec.resolution if first else None  # a run may be of a smaller level than its dataset
        dataset = open_dataset(o.data, resolution, o.use_labels) if o.data else None
        session = Session(load, o, device, dataset, run_dir)
        session.load_detectors()
        for network, before in networks:
            session.score(network, before)
    except KeyboardInterrupt:
        for s in (signal.SIGINT, signal.SIGTERM):  # the launcher passes it on to workers that had it already
            signal.signal(s, signal.SIG_IGN)
        interrupted = True
    finally:
        distributed.shutdown()
    if interrupted:  # by now the progress bar is gone, and readers have ended
        if main:
            print("interrupted; the results above are kept", file=sys.stderr)
        sys.exit(INTERRUPTED)


class Session:
    """What the measurements of a call have in common."""

    def __init__(
        self,
        load: Load,
        o: Options,
        device: torch.device,
        dataset: Dataset | None,
        run_dir: Path | None,
        say: Callable[[str], None] = tqdm.write,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.load, self.o, self.device, self.dataset, self.run_dir = load, o, device, dataset, run_dir
        self.stop = stop
        self.say = say if distributed.is_main() else lambda text: None
        self.detectors: dict[str, Detector] = {}  # loaded so far
        self.events: Any = None  # TensorBoard's writer

    def load_detectors(self) -> None:
        """All that will be needed, so that a missing file is told at once and not after hours."""
        needed = dict.fromkeys(c.metric.detector for c in choose(self.o.metrics) if c.metric.detector)
        for name in needed:
            self.detectors[name] = distributed.main_first(lambda: Detector(name, self.o.detectors, self.device))  # noqa: B023

    def score(self, network: str | None, before: str | None) -> None:
        """All metrics of one network, or of the images; `before` is the snapshot before it."""
        G = self._open(network) if network else None
        self.score_generator(G, Path(network).name if network else "", before)

    def _open(self, network: str) -> Any:
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn, and replaced
            return self.load(network).generator().to(self.device)

    def score_generator(self, G: Any, name: str, before: str | None, go_on: bool = False) -> None:
        """All metrics of a generator, None = of the images; `go_on` to the next if one cannot be had."""
        o = self.o
        if o.class_idx is not None and not 0 <= o.class_idx < G.spec.c_dim:
            raise UserError(f"--class {o.class_idx}: {name} has {G.spec.c_dim} classes")
        if G is not None and self.dataset is not None:
            _check_fit(G.spec, self.dataset, name)
        metrics = choose(o.metrics)
        for chosen in [c for c in metrics if c.metric.needs_previous and before is None]:
            self.say(f"{name}: {chosen.name}: left out, there is no earlier snapshot to compare with")
            metrics.remove(chosen)
        classes: list[int | None] = [o.class_idx]
        if o.per_class:
            classes += range(G.spec.c_dim if G is not None else 0)
        for class_idx in dict.fromkeys(classes):
            optional = go_on or (o.per_class and class_idx is not None)
            found: dict[str, list[float]] = {}
            for seed in range(o.seed or 0, (o.seed or 0) + o.repeats):
                with self._warned(optional, f"{name}: class {class_idx} is left out"):
                    ctx = self._context(G, seed, class_idx, metrics)
                    for chosen in metrics:
                        with self._warned(optional, f"{name}: {chosen.name} is not had"):
                            r = self._measure(chosen, ctx, name, before)
                            found.setdefault(r["metric"], []).append(r["value"])
            for metric, values in found.items():
                if len(values) > 1:
                    mean, std = np.mean(values), np.std(values, ddof=1)
                    self.say(f"{metric}: {mean:.6g} ± {std:.3g} over {len(values)} seeds")

    @contextlib.contextmanager
    def _warned(self, optional: bool, what: str) -> Iterator[None]:
        """What is optional and fails is said, and left out."""
        try:
            yield
        except UserError as e:
            if not optional:
                raise
            self.say(f"warning: {what}: {e}")

    def _context(self, G: Any, seed: int, class_idx: int | None, metrics: list[Chosen]) -> Context:
        """What the metrics are given, for one seed and class."""
        o, reals = self.o, self.dataset
        samples: Samples
        if G is None:
            assert o.images is not None
            samples = Reals(open_dataset(o.images))
        else:
            samples = Fakes(G, self.device, seed, reals.labels if reals else None, o.trunc, class_idx)
        if class_idx is not None and reals is not None:
            reals = OfClass(reals, class_idx)
        return Context(
            samples, reals, self.device, o.detectors, o.mirror, seed, o.batch, o.cache_dir or default_cache(),
            crop=o.crop, loaded=self.detectors, several=several(metrics), stop=self.stop,
        )  # fmt: skip

    def _measure(self, chosen: Chosen, ctx: Context, name: str, before: str | None) -> dict[str, Any]:
        """One metric, published."""
        start = time.perf_counter()
        ctx.facts = {"seed": ctx.seed}
        previous = []
        if chosen.metric.needs_previous and before:
            previous = [ctx.generator().of(distributed.together(lambda: self._open(before)))]
            ctx.facts["previous"] = Path(before).name
        values = chosen(ctx, *previous)
        r = results.row(chosen, values, ctx.facts, name, distributed.broadcast_object(time.perf_counter() - start))
        if distributed.is_main():
            self._keep(r)
        self.say(results.line(r))
        due, unsure = r["results"].get(f"{chosen.metric.key}_bias", 0), r.get("bias_is") == "a lower bound"
        if due > abs(r["value"]) * BIASED / (5 if unsure else 1):
            how = "at least" if unsure else "about"
            self.say(f"  of this, {how} {due:.3g} is due to the small number of images alone")
        if self.o.out is None and self.run_dir is None:
            self.say("  " + ", ".join(f"{k} {v}" for k, v in results.conditions(r).items() if k != "metric"))
        return r

    def _keep(self, r: dict[str, Any]) -> None:
        """Into --out and the files of the run."""
        for place, keep in ((self.o.out, results.append), (self.run_dir, self._keep_in_run)):
            try:
                if place is not None:
                    keep(place, r)
            except (UserError, OSError) as e:
                self.say(f"warning: {place}: the result is not kept there: {e}")

    def _keep_in_run(self, run_dir: Path, r: dict[str, Any]) -> None:
        series = results.keep(run_dir, r)
        if r in series:
            self.events = self.events or results.open_events(run_dir)
            results.to_tensorboard(self.events, r)
        if len(series) > 1:
            results.plot(run_dir, r["metric"], series)


class ScoreSnapshots:
    """The hook of train.py: the metrics of its options, of each snapshot, into its run dir."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self._session: Session | None = None  # made at the first snapshot

    def __call__(self, snapshot: SavedSnapshot) -> None:
        cfg = snapshot.cfg
        if self._session is None:
            o = Options(
                network=str(snapshot.run_dir),
                metrics=cfg.metrics,
                mirror=cfg.mirror,
                seed=cfg.seed,
                batch=cfg.images_per_pass,
            )
            of_run = (snapshot.device, snapshot.dataset, snapshot.run_dir, snapshot.say, snapshot.stop)
            self._session = Session(self.load, o, *of_run)
        before = distributed.on_main(lambda: dict(_successive(snapshot.run_dir)).get(snapshot.path))
        try:
            self._session.score_generator(
                snapshot.G_ema, snapshot.path.name, str(before) if before else None, go_on=True
            )
        except Stopped:
            snapshot.say(f"{snapshot.path.name}: not scored to the end; run_metrics.py can do that")
        except Exception as e:  # of the metrics, e.g. no memory for them: the run goes on
            snapshot.say(f"warning: {snapshot.path.name} is not scored: {type(e).__name__}: {e}")
        finally:
            self._session.detectors.clear()  # training needs the memory


def missing_weights(metrics: str) -> list[str]:
    """What is wrong with the weight files of detectors that these metrics need; fetches them."""
    found = []
    for c in choose(metrics):
        for file in DETECTORS[c.metric.detector].files if c.metric.detector else ():
            try:
                find_weights(c.metric.detector, file, None)
            except UserError as e:
                found.append(f"{c.name}: {e}")
    return found


def _successive(run_dir: Path) -> list[tuple[Path, Path | None]]:
    """The snapshots of a run, earliest first, each with the one before it."""
    snapshots = sorted(run_dir.glob("network-snapshot-*.safetensors"), key=lambda p: results.kimg_of(p.name) or 0)
    return list(zip(snapshots, [None, *snapshots], strict=False))


def _check_fit(spec: Any, dataset: Dataset, name: str) -> None:
    """Do a network and a dataset go together? One without labels is taken for all classes alike."""
    if spec.c_dim and dataset.spec.c_dim and spec.c_dim != dataset.spec.c_dim:
        raise UserError(f"{name}: has {spec.c_dim} classes, expected {dataset.spec.c_dim} as in {dataset.name}")
    ours, theirs = ((s.channels, s.resolution, s.resolution) for s in (spec, dataset.spec))
    if ours != theirs:
        found, expected = ("x".join(map(str, s)) for s in (ours, theirs))
        raise UserError(f"{name}: makes images of {found}, expected {expected} as in {dataset.name}")


def find_networks(o: Options) -> tuple[list[tuple[str | None, str | None]], Path | None]:
    """The network files, earliest first, each with the snapshot before it, and the run dir that they belong to."""
    if o.images is not None:
        return [(None, None)], None
    path = Path(o.network or "")
    if o.run_id is not None:
        found = sorted(o.result_dir.glob(f"{o.run_id:05d}-*"))
        if len(found) != 1:
            raise UserError(
                f"--run-id {o.run_id}: {len(found)} run dirs {o.run_id:05d}-* in {o.result_dir}, expected one"
            )
        path = found[0]
    if not path.is_dir():
        path = path.resolve()  # what best.safetensors points at
        if not (path.is_file() and (path.parent / "config.json").is_file()):
            return [(o.network, None)], None
        before = dict(_successive(path.parent)).get(path)
        return [(str(path), str(before) if before else None)], path.parent
    pairs = _successive(path)
    if not pairs:
        raise UserError(f"{path}: no network-snapshot-*.safetensors in it, expected a run dir of train.py")
    if o.snapshot == "latest":
        pairs = pairs[-1:]
    elif o.snapshot != "all":
        known = ", ".join(f"{results.kimg_of(p.name):g}" for p, _ in pairs)
        pairs = [(p, before) for p, before in pairs if results.kimg_of(p.name) == _number(o.snapshot)]
        if not pairs:
            raise UserError(f"--snapshot {o.snapshot}: not in {path}, expected latest, all, or one of {known}")
    return [(str(p), str(before) if before else None) for p, before in pairs], path


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def _resolve(o: Options) -> tuple[list[tuple[str | None, str | None]], Path | None, Options]:
    """The networks, their run dir, and the options with what that run was trained with filled in."""
    networks, run_dir = find_networks(o)
    if run_dir is None:
        return networks, None, replace(o, seed=o.seed or 0)
    try:
        config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise UserError(f"{run_dir / 'config.json'}: not readable ({e}), expected that of a run") from e
    seed = config.get("seed", 0) if o.seed is None else o.seed
    data, use_labels = o.data, True
    if data is None and config.get("data"):
        data, use_labels = Path(config["data"]), config.get("use_labels", True)
        if not data.exists():
            tqdm.write(f"warning: {data}: the dataset of the run is not there; --data tells where it is", sys.stderr)
            data = None
    mirror = o.mirror or bool(config.get("mirror"))
    return networks, run_dir, replace(o, data=data, mirror=mirror, seed=seed, use_labels=use_labels)
