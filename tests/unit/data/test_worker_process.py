import signal
import sys

import pytest

from xception.data.worker_process import _tell_unless_interrupted, signals_held


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BrokenPipeError("gone"), False),
        (ConnectionResetError("gone"), False),
        (EOFError(), False),
        (ValueError("a mistake"), True),
    ],
)
def test_exception_hook_tells_all_but_a_hang_up(capsys, error, told):
    _tell_unless_interrupted(type(error), error, None)
    assert bool(capsys.readouterr().err) == told


@pytest.mark.skipif(sys.platform == "win32", reason="no signal masks")
def test_signals_held_delivers_right_after():
    got = []
    before = signal.signal(signal.SIGTERM, lambda *_: got.append("term"))
    try:
        with signals_held():
            signal.raise_signal(signal.SIGTERM)
            assert got == []
        assert got == ["term"]
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGTERM, before)
