"""Runs the command line and kills its own process, for real, at a chosen moment.

``python kill_driver.py MOMENT NUMBER [xception's words …]``, where MOMENT is

- ``batch``: before the NUMBERth training step of this process;
- ``save``: while the NUMBERth checkpoint is half written;
- ``fsync``: just before the NUMBERth flush to the device;
- ``rename``: just before the NUMBERth change of a name; ``renamed``: just after it;
- ``validation``: in the NUMBERth validation batch;
- ``conclusion``: after training, before the weights file is complete;
- ``sigterm``, ``sigint``, ``sighup``: that signal, sent before the NUMBERth training step; no kill;
- ``sigint-at-start``, ``sigint-at-end``: Ctrl-C before the first step, and after training;
- ``no-space``: the device is full at the NUMBERth flush;
- ``nan``: the loss is NaN at the NUMBERth training step;
- ``never``.
"""

import errno
import os
import signal
import sys
from pathlib import Path

import torch


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def counted(function, number, before=None, after=None):
    """``function`` with something done around its ``number``-th call."""
    calls = 0

    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        if before and calls == number:
            before(*args)
        result = function(*args, **kwargs)
        if after and calls == number:
            after(*args)
        return result

    return wrapped


def half_save(content, path):
    torch_save(content, path)
    whole = Path(path).read_bytes()
    Path(path).write_bytes(whole[: len(whole) // 2])
    die()


def full_device(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.ckpt")


def press_ctrl_c(*_):
    os.kill(os.getpid(), signal.SIGINT)


moment, number, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background are deaf to it
torch_save = torch.save

from xception.training.classifier import Classifier  # noqa: E402

step = Classifier.training_step
if moment == "batch":
    Classifier.training_step = counted(step, number, before=lambda *_: die())
elif moment in ("sigterm", "sigint", "sighup"):
    signal_number = getattr(signal, moment.upper())
    Classifier.training_step = counted(
        step, number, before=lambda *_: os.kill(os.getpid(), signal_number)
    )
elif moment == "nan":
    Classifier.training_step = counted(
        step, number, before=lambda self, *_: setattr(self, "loss", lambda *_: self.forward_nan())
    )
    Classifier.forward_nan = lambda self: torch.tensor(float("nan"), requires_grad=True)
elif moment == "validation":
    Classifier.validation_step = counted(
        Classifier.validation_step, number, before=lambda *_: die()
    )
elif moment == "save":
    torch.save = counted(torch.save, number, before=half_save)
elif moment == "fsync":
    os.fsync = counted(os.fsync, number, before=lambda *_: die())
elif moment == "no-space":
    os.fsync = counted(os.fsync, number, before=full_device)
elif moment == "rename":
    Path.replace = counted(Path.replace, number, before=lambda *_: die())
elif moment == "renamed":
    Path.replace = counted(Path.replace, number, after=lambda *_: die())
elif moment == "sigint-at-start":
    from xception.training.metrics_file import MetricsFile

    MetricsFile.on_fit_start = counted(MetricsFile.on_fit_start, 1, before=press_ctrl_c)
elif moment in ("conclusion", "sigint-at-end"):
    import safetensors.torch

    after = press_ctrl_c if moment == "sigint-at-end" else lambda *_: die()
    safetensors.torch.save_file = counted(safetensors.torch.save_file, number, after=after)
else:
    assert moment == "never", moment

from xception.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(words))
