"""How training scores the snapshots of a run."""

from collections.abc import Callable

from dnnlib import distributed
from dnnlib.errors import UserError
from metrics.catalog import choose
from metrics.detectors.detector import DETECTORS
from metrics.detectors.weights import find_weights
from metrics.networks import NetworkFile, Snapshot, snapshots_of
from metrics.samples import Stopped
from metrics.session import Session, Settings
from training.run.hooks import SavedSnapshot


class ScoreSnapshots:
    """The hook of train.py: write the metrics that its options name, of each snapshot, into its run dir."""

    def __init__(self, load: Callable[[str], NetworkFile]) -> None:
        self.load = load
        self._session: Session | None = None  # made at the first snapshot

    def __call__(self, snapshot: SavedSnapshot) -> None:
        if self._session is None:
            self._session = self._open_session(snapshot)

        network = str(snapshot.path)
        saved = distributed.on_main(lambda: snapshots_of(snapshot.run_dir))
        previous = {known.network: known.previous for known in saved}.get(network)

        try:
            self._session.score_generator(snapshot.G_ema, Snapshot(network, previous), keep_going=True)
        except Stopped:
            snapshot.say(f"{snapshot.path.name}: not scored to the end; run_metrics.py can do that")
        except Exception as e:  # of the metrics, e.g. no memory for them: the run goes on
            snapshot.say(f"warning: {snapshot.path.name} is not scored: {type(e).__name__}: {e}")
        finally:
            self._session.detectors.clear()  # training needs the memory

    def _open_session(self, snapshot: SavedSnapshot) -> Session:
        """Measure as the run trains: its reals, its seed, as many images at a time."""
        config = snapshot.cfg
        settings = Settings(
            metrics=choose(config.metrics),
            mirror=config.mirror,
            seed=config.seed,
            batch=config.images_per_pass,
        )
        return Session(
            self.load,
            settings,
            snapshot.device,
            snapshot.dataset,
            snapshot.run_dir,
            snapshot.say,
            snapshot.stop,
        )


def missing_weights(metrics: str) -> list[str]:
    """Fetch the weight files of the detectors that these metrics need; return what is wrong with them."""
    problems = []
    for chosen in choose(metrics):
        detector = chosen.metric.detector
        for file in DETECTORS[detector].files if detector else ():
            try:
                find_weights(detector, file, None)
            except UserError as e:
                problems.append(f"{chosen.name}: {e}")
    return problems
