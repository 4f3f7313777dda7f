"""A real browser without a window."""

import contextlib
import shutil
import socket
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Yield Chromium: the system's, or else the one that `playwright install chromium` has fetched."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root, which tests in containers often are.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def free_port() -> int:
    """Return a port of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
