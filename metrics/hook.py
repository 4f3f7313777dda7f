"""How training scores the snapshots of a run."""

from dnnlib import distributed
from dnnlib.errors import UserError
from metrics.blocks import Stopped
from metrics.catalog import choose
from metrics.detectors.detector import DETECTORS
from metrics.detectors.weights import find_weights
from metrics.networks import Load, snapshot_at
from metrics.session import Session
from metrics.settings import Settings
from training.run.hooks import SavedSnapshot


class ScoreSnapshots:
    """The hook of train.py that measures the metrics of its options for each snapshot and keeps them in its run dir."""

    def __init__(self, load: Load) -> None:
        self.load = load

        # Made at the first snapshot, which tells the dataset and the device.
        self._session: Session | None = None

    def __call__(self, snapshot: SavedSnapshot) -> None:
        """Score a snapshot; whatever goes wrong is a warning, since the run must go on."""
        # Measure as the run trains: its reals, its seed, as many images at a time.
        if self._session is None:
            cfg = snapshot.cfg
            settings = Settings(metrics=cfg.metrics, mirror=cfg.mirror, seed=cfg.seed, batch=cfg.images_per_pass)
            self._session = Session(
                self.load,
                settings,
                snapshot.device,
                snapshot.dataset,
                snapshot.run_dir,
                snapshot.say,
                snapshot.stop,
            )

        # run_metrics.py can make up for what is missing.
        name = snapshot.path.name
        in_run = distributed.on_main(lambda: snapshot_at(snapshot.path))

        try:
            self._session.score_generator(snapshot.G_ema, in_run, keep_going=True)
        except Stopped:
            snapshot.say(f"{name}: not scored to the end; run_metrics.py can do that")
        except Exception as e:
            snapshot.say(f"warning: {name} is not scored: {type(e).__name__}: {e}")
        finally:
            # Training needs the memory.
            self._session.detectors.clear()


def missing_weights(metrics: str) -> list[str]:
    """Fetch the weight files of the detectors that these metrics need, and return what is wrong with them."""
    problems = []
    for chosen in choose(metrics):
        detector = chosen.metric.detector

        for file in DETECTORS[detector].files if detector else ():
            try:
                find_weights(detector, file, None)
            except UserError as e:
                problems.append(f"{chosen.name}: {e}")
    return problems
