"""The process behind ``xception`` and ``python -m xception``: from the command line to its end."""

import os
import sys
from typing import NoReturn


def run() -> NoReturn:
    """Runs the command line of this process and ends it.

    After Ctrl-C it ends by that signal, as a shell expects it: one that has started it in a loop
    ends the loop too. (``$?`` is 130, as with an exit code.)
    """
    import atexit
    import signal

    interrupted: list[int] = []
    atexit.register(lambda: _end_by_ctrl_c() if interrupted else None)  # the last thing to be done
    try:
        from xception.cli.main import main

        code = main()
    except KeyboardInterrupt:  # while it was being imported, or a second one
        code = 130
    if code == 130 and os.name == "posix":
        interrupted.append(code)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # one more Ctrl-C: at once, without a word
    sys.exit(code)


def _end_by_ctrl_c() -> None:
    import signal

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # closed, or never there
            continue
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    run()
