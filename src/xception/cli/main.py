"""``xception VERB …``: picks the verb, turns errors into one sentence and an exit code.

Exit codes: 0 done, 1 ran but some inputs failed, 2 wrong use, 3 the run failed,
130 interrupted by Ctrl-C, 143 by SIGTERM, 129 by the end of the terminal.

A verb is a module of this package with ``SUMMARY`` (one line) and ``main(arguments) -> int``.
Only the chosen verb's module is imported: ``xception --help`` stays instant.
"""

import errno
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from xception.cli.warning_text import reword
from xception.errors import InputError, RunFailedError, nearest
from xception.home import expand_home
from xception.signals import ENDING, Terminated, received_by, terminate

VERBS = {
    "demo": "train, evaluate and predict on the embedded digits, in half a minute",
    "recipes": "list the shipped recipes, or print one",
    "train": "train a model as a recipe says",
    "evaluate": "top-1, top-5 and loss of a model on a data set",
    "predict": "classify images",
    "serve": "a model behind HTTP",
    "inspect": "a model's layers, shapes, parameters, cost",
    "benchmark": "speed of training, inference and kernels, beside the peers'",
    "data": "pack labelled images into shards, verify and inspect them",
    "export": "a file for other programs: ONNX, OpenVINO, torch.export",
    "convert": "bring weights from Keras, timm or torchvision here, and back",
    "verify": "compare two models layer by layer",
    "reproduce": "run the paper's tables and figures, and report",
    "tune": "search learning rate and weight decay, with an equal budget for each recipe",
    "report": "published numbers beside measured ones, from reproductions",
}


def _usage() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    return (
        "usage: xception VERB …\n\n"
        "Xception: image classification with depthwise separable convolutions.\n\n"
        f"verbs:\n{verbs}\n\n"
        "options:\n  -h, --help  this text; after a verb, that verb's own\n"
        "  --version   the version\n\n"
        "exit codes: 0 done, 1 some inputs failed, 2 wrong use, 3 the run failed, "
        "130/143 interrupted"
    )


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning for the user: one line, and not the line of code that it came from."""
    print(f"xception: warning: {reword(str(message))}", file=sys.stderr)


def _fail(message: str, code: int) -> int:
    with suppress(OSError):  # nobody reads it any more
        print(f"xception: error: {message}", file=sys.stderr)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code.

    Args:
        arguments: The words after ``xception``; those of the process by default.
    """
    words = [_as_shells_do(w) for w in (sys.argv[1:] if arguments is None else arguments)]
    try:
        with received_by(terminate, tuple(name for name in ENDING if name != "SIGINT")):
            code = _run(words)
            if sys.stdout is not None:  # as it is where the shell has closed it
                sys.stdout.flush()
            return code
    except SystemExit as stop:  # the argument parser's own way out, or rich's where a pipe broke
        if isinstance(stop.__context__, BrokenPipeError):
            return _hang_up()
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Terminated as stop:
        return _fail(str(stop), stop.exit_code)
    except InputError as error:
        return _fail(str(error), 2)
    except RunFailedError as error:
        return _fail(str(error), 3)
    except BrokenPipeError:
        return _hang_up()
    except OSError as error:
        return _fail(*_told(error))


def _as_shells_do(word: str) -> str:
    """``--output=~/runs``, which shells leave as it is, means what ``--output ~/runs`` means."""
    option, equals, value = word.partition("=")
    if not (option.startswith("--") and value.startswith("~/")):
        return word
    with suppress(InputError):  # no home: as shells do, again
        return f"{option}{equals}{expand_home(value)}"
    return word


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        from xception import __version__

        print(__version__)
        return 0
    verb = words[0]
    if verb not in VERBS:
        hint = nearest(verb, list(VERBS))
        return _fail(f"there is no verb '{verb}'{hint}; see xception --help", 2)
    warnings.showwarning = _show_warning
    # It complains where the home directory can't be written, and does without all the same.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    return int(import_module(f"xception.cli.{verb}").main(words[1:]))


def _hang_up() -> int:
    """The reader of a pipe (head, less) has gone, which is no failure."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _told(error: OSError) -> tuple[str, int]:
    """What the system refused, in one sentence, with the exit code.

    Raises:
        OSError: It is none of those that come from the machine's state.
    """
    where = f" {os.fsdecode(error.filename)}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" for{where}" if where else ""
        return f"no space left on the device{place}; free some and go on", 3
    if error.errno == errno.EMFILE:
        return "too many open files; raise the limit (ulimit -n), or use fewer workers", 3
    if error.errno == errno.EIO:
        return f"can't read or write{where}: {error.strerror}; the device or terminal has gone", 3
    if not where:
        raise error
    return f"can't use{where}: {error.strerror}; name another path", 2
