import os
import signal

import pytest

from dnnlib import distributed
from dnnlib.stop_request import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_requests_until_the_second_ctrl_c(number):
    before = signal.getsignal(number)
    stop = StopRequest()
    try:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 0.1)
    finally:
        stop.restore()
    assert signal.getsignal(number) is before


def test_a_file_asks_as_well_and_one_process_looks_for_it(tmp_path, monkeypatch):
    stop = StopRequest()
    try:
        stop.file = tmp_path / "stop"
        assert not stop()
        stop.file.touch()
        assert stop()
        monkeypatch.setattr(distributed, "is_main", lambda: False)
        assert not stop()  # it hears of it from the main process
    finally:
        stop.restore()
