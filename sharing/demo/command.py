"""The command of demo.py."""

import hmac
import os
import shutil
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from dnnlib import cli
from dnnlib.errors import UserError
from dnnlib.extras import import_extra
from generation.networks import NetworkOptions
from generation.sampling import Device
from metrics.networks import find_run
from sharing.demo.page import CSS, Page
from sharing.demo.run_view import RunWatch
from sharing.demo.studio import Studio

MOST_UPLOADED = "64mb"
MOST_VISITORS = 50  # whose pictures, uploads and kept pictures are remembered


@dataclass(frozen=True, kw_only=True)
class Options(NetworkOptions):
    """Open a web page in which to play with a network: seeds, mixing, directions, walks, and a run that trains."""

    run: str | None = None
    """Run dir, or number of a run, to follow: its sheets, its losses, and, without --network, its newest network."""
    directions: Path | None = None
    """Directions to move along: a file that `generate.py directions` saved. Visitors can choose others."""
    host: str = "127.0.0.1"
    """Address to listen at. 127.0.0.1 = this computer only, 0.0.0.0 = everybody who can reach it."""
    port: int = 7860
    """Port to listen at."""
    share_password: str | None = None
    """Password that visitors are asked for, with any user name."""
    device: Device = "auto"
    """auto = CUDA if a GPU is available."""

    def __post_init__(self) -> None:
        if not 1 <= self.port <= 65535:
            raise ValueError(f"--port {self.port}: expected 1 to 65535")
        if self.share_password == "":
            raise ValueError("--share-password: empty, expected a password")


def main() -> None:
    """Parse the command line and serve the page until Ctrl-C."""
    options: Options = cli.one_line_errors(partial(tyro.cli, Options, prog="demo.py", description=Options.__doc__))
    serve(options)


def serve(options: Options) -> None:
    """Serve the page until the process is ended; raise UserError if that cannot be done."""
    # The port is checked before the network is opened, which takes longer.
    _check_port(options.host, options.port)
    import_extra("gradio", "demo.py")
    run_dir = None if options.run is None else _find_run(options.run, options.result_dir)
    studio = Studio(options, options.device, run_dir if options.network is None else None)
    directions = None if options.directions is None else studio.read_directions(options.directions)

    # Whatever visitors upload or download is gone with the page. gradio reads where to put it from the environment.
    with tempfile.TemporaryDirectory(prefix="msg-gan-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "gradio")
        page = Page(studio, Path(folder) / "downloads", directions, None if run_dir is None else RunWatch(run_dir))
        _launch(page, options)
        try:
            threading.Event().wait()
        finally:
            # gradio's server ends with the process; to close it takes seconds while visitors have the page open. What
            # it writes meanwhile is removed by the second attempt.
            studio.close()
            shutil.rmtree(folder, ignore_errors=True)


def _launch(page: Page, options: Options) -> None:
    """Start to listen, and say where."""
    password = options.share_password
    if password is None and options.host not in ("127.0.0.1", "localhost", "::1"):
        warning = f"everybody who can reach {options.host} can use the page, unless you add --share-password"
        print(f"warning: {warning}", file=sys.stderr)
    try:
        page.blocks.launch(
            server_name=f"[{options.host}]" if ":" in options.host else options.host,
            server_port=options.port,
            auth=None if password is None else lambda _, given: hmac.compare_digest(given.encode(), password.encode()),
            auth_message="Any user name, and the password that you were given.",
            max_file_size=MOST_UPLOADED,
            state_session_capacity=MOST_VISITORS,
            css=CSS,
            theme=_theme(page),
            footer_links=[],
            prevent_thread_lock=True,
            ssr_mode=False,
            share=False,
            quiet=True,
        )
    except OSError as e:
        raise UserError(f"--port {options.port}: {e}") from e
    reachable = socket.gethostname() if options.host in ("0.0.0.0", "::") else options.host
    host = f"[{reachable}]" if ":" in reachable else reachable
    print(f"http://{host}:{options.port} shows {page.studio.place} (Ctrl-C ends it)", flush=True)


def _theme(page: Page) -> object:
    """Return gradio's default look with fonts of the system, so that the page fetches nothing from the web."""
    return page.gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def _find_run(run: str, result_dir: Path) -> Path:
    """Return a run dir, given by its path or number; raise UserError if it is none."""
    path = Path(run)
    if run.isdecimal() and not path.exists():
        return find_run(int(run), result_dir, "--run")
    if not (path / "config.json").is_file():
        raise UserError(f"--run {run}: expected a run dir of train.py, or the number of a run")
    return path


def _check_port(host: str, port: int) -> None:
    """Raise UserError unless the port is free."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as e:
        raise UserError(f"--host {host} --port {port}: {e.strerror or e}, expected another address or port") from e
