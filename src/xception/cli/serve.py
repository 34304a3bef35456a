"""``xception serve MODEL``: a model behind HTTP."""

import logging
import os
import sys
from typing import TYPE_CHECKING, Literal

from xception.cli.engine_choice import add_engine_options, with_engine
from xception.cli.parsing import new_parser, parse
from xception.cli.preprocessing_options import add_preprocessing_options, with_preprocessing
from xception.cli.weights_option import add_weights_option
from xception.errors import InputError, count_of

if TYPE_CHECKING:
    from jsonargparse import Namespace

SUMMARY = "a model behind HTTP"

TOKEN = "XCEPTION_TOKEN"

DESCRIPTION = f"""\
Answers HTTP requests: POST /predict takes an image as the body, or several as the files of a form,
and gives class names and probabilities as JSON. GET / is a page to try it on, /model tells what is
served, /health that it is, /metrics how it goes (Prometheus). With the environment variable
{TOKEN}, clients have to send it as 'Authorization: Bearer …'. Ctrl-C or SIGTERM ends it; what
was asked is answered first."""


def main(arguments: list[str]) -> int:
    """Runs the verb; returns 0 when the server was told to end."""
    options = _parse(arguments)
    try:
        from xception.serving.server import address_of, bind, is_local, listen, serve
    except ImportError as error:
        raise InputError(
            f"serving needs the library {error.name}: pip install 'xception[serving]'"
        ) from None
    from xception.export.opening import open_network
    from xception.serving.application import create_application
    from xception.serving.service import Limits, Service

    # It warns of every broken form; the client is told already.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    limits = Limits(
        batch_size=options.batch_size,
        queue_size=options.queue_size,
        request_bytes=options.request_mebibytes * 2**20,
        image_pixels=options.image_megapixels * 10**6,
    )
    with bind(options.host, options.port) as bound:
        loaded = open_network(options.model, weights=options.weights, threads=options.threads)
        loaded = with_engine(
            with_preprocessing(loaded, options), options, images=limits.batch_size, default="auto"
        )
        service = Service(loaded, device=options.device, limits=limits)
        token = os.environ.get(TOKEN)
        application = create_application(service, top_k=options.top_k, token=token)
        service.warm_up()
        listen(bound)
        told = service.describe()
        print(
            f"{options.model}: {told['model']}, {len(service.names):,} classes, images of "
            f"{loaded.preprocessing.size} pixels, engine {told['engine']} on {told['device']}"
        )
        print(f"{address_of(bound)} (Ctrl-C ends it)", flush=True)
        if token is None and not is_local(bound):
            print(
                f"xception: whoever reaches this machine can use it; set {TOKEN}, or put it behind "
                "a proxy that asks who it is",
                file=sys.stderr,
            )
        serve(application, bound)
    classified = count_of(service.statistics.count("classified"), "image")
    print(f"ended: {classified} classified")
    return 0


def _parse(arguments: list[str]) -> "Namespace":
    parser = new_parser("serve", DESCRIPTION)
    add = parser.add_argument
    add("model", type=str, help="Run directory, checkpoint, weights file or exported file.")
    add("--host", type=str, default="127.0.0.1", help="Address; 0.0.0.0 for all of this machine.")
    add("--port", type=int, default=8000, help="0 for any that is free.")
    add("--top-k", type=int, default=5, help="How many classes to name, unless asked (?top_k=3).")
    add("--batch-size", type=int, default=8, help="Most images that go through together.")
    add("--queue-size", type=int, default=256, help="Most images that wait; then 503.")
    add("--request-mebibytes", type=int, default=16, help="Largest request; else 413.")
    add("--image-megapixels", type=int, default=50, help="Largest image; else it is unreadable.")
    add("--device", type=Literal["auto", "cpu", "cuda"], default="auto", help="Where to compute.")
    add_engine_options(parser, absent="Default: auto; on a GPU, torch.")
    add_preprocessing_options(parser, "the model's")
    add_weights_option(parser)
    options = parse(parser, arguments)
    for name in ("top_k", "batch_size", "queue_size", "request_mebibytes", "image_megapixels"):
        if options[name] < 1:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} is {options[name]}; give 1 or more")
    return options
