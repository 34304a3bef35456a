import gc
import multiprocessing
import signal
import sys

import pytest

from xception.data.worker_process import _tell_unless_interrupted, settle_worker, signals_held


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


def _settle_and_count(results):
    settle_worker(0)
    results.put((gc.get_freeze_count(), len(gc.get_objects())))


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_settle_worker_leaves_what_was_inherited_out_of_the_collector():
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=_settle_and_count, args=(results,))
    inherited = len(gc.get_objects())
    process.start()
    frozen, visited = results.get()
    process.join()
    assert gc.get_freeze_count() == 0, "the parent's objects stay in its own collector"
    assert frozen > 0.9 * inherited  # some die on the way
    assert visited < 0.1 * inherited
