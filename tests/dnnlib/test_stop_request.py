import os
import signal

import pytest

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
