"""The addresses of a model behind HTTP.

- ``POST /predict``: an image as the body, or several as the files of a form.
- ``GET /model``: what is served. ``GET /health``: that it is. ``GET /metrics``: for Prometheus.
- ``GET /``: a page to try it on.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterable
from importlib.resources import files
from typing import Any, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from xception.errors import InputError, RunFailedError
from xception.inference.classification import Prediction
from xception.serving.requests import MOST_IMAGES, classes_asked_for, is_form, read_images
from xception.serving.service import OverloadedError, Service

MOST_REQUESTS = 512
"""To ``/predict``, being read or answered at a time; further ones get 503."""

Answer = TypeVar("Answer")


def create_application(service: Service, *, top_k: int = 5, token: str | None = None) -> Starlette:
    """An ASGI application of a model, for any server that runs such.

    Args:
        service: The model; it works for as long as the application's lifespan.
        top_k: How many classes an answer names, unless it is asked for another number.
        token: What clients have to show as ``Authorization: Bearer TOKEN``; None: nothing.

    Raises:
        InputError: A ``top_k`` below 1, or an empty token.
    """
    if top_k < 1:
        raise InputError(f"top_k is {top_k}; give 1 or more")
    if token is not None and not token.strip():
        raise InputError("the token is empty; give one, or none at all")
    requests = asyncio.Semaphore(MOST_REQUESTS)
    page = files("xception.serving").joinpath("page.html").read_text(encoding="utf-8")

    async def predict(request: Request) -> Response:
        _require_token(request, token)
        if requests.locked():
            raise OverloadedError(f"{MOST_REQUESTS} requests are open already; try again later")
        async with requests:
            with service.statistics.request_seconds.time():
                return await answer(request)

    async def answer(request: Request) -> Response:
        k = classes_asked_for(request, top_k, len(service.names))
        most_images = min(MOST_IMAGES, service.limits.queue_size)  # more would never be taken
        images = await read_images(request, service.limits.request_bytes, most_images)
        asked = (service.predict(image.name, image.encoded, k) for image in images)
        found = await _while_it_listens(request, _all_or_none(asked))
        status = 400 if all(one.error for one in found) else 200
        if not is_form(request):
            return JSONResponse(_told(found[0]), status)
        return JSONResponse({"images": [{"name": one.path, **_told(one)} for one in found]}, status)

    async def model(request: Request) -> Response:
        _require_token(request, token)
        return JSONResponse(service.describe())

    async def metrics(request: Request) -> Response:
        _require_token(request, token)
        return Response(service.statistics.text(), media_type=CONTENT_TYPE_LATEST)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ready"})

    async def home(_: Request) -> Response:
        return HTMLResponse(page)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    application = Starlette(
        routes=[
            Route("/", home),
            Route("/predict", predict, methods=["POST"]),
            Route("/model", model),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        exception_handlers={
            HTTPException: _answer_refusal,
            ClientDisconnect: _answer_nobody,
            404: _answer_unknown,
            OverloadedError: _answer_overload,
            RunFailedError: _answer_failure,
            Exception: _answer_fault,
        },
        lifespan=lifespan,
    )
    application.router.redirect_slashes = False  # what is at no address, is told so
    return application


async def _while_it_listens(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Waits for work, and gives it up where the client goes away meanwhile.

    Raises:
        ClientDisconnect: It has gone.
    """
    working, gone = asyncio.create_task(work), asyncio.create_task(_end_of(request))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        gone.cancel()


async def _end_of(request: Request) -> None:
    """Waits until the client of a request, whose body has been read, goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _all_or_none(asked: Iterable[Coroutine[Any, Any, Prediction]]) -> list[Prediction]:
    """Waits for all; where one fails, the others leave the queue: nobody would hear of them."""
    tasks = [asyncio.create_task(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _told(found: Prediction) -> dict[str, Any]:
    """A prediction as JSON primitives, without its name."""
    if found.error:
        return {"error": found.error}
    rows = zip(found.classes, found.indices, found.probabilities, strict=True)
    return {
        "predictions": [
            {"class": name, "index": index, "probability": probability}
            for name, index, probability in rows
        ]
    }


def _require_token(request: Request, token: str | None) -> None:
    """Raises 401 where a token is needed and another or none is shown."""
    if token is None:
        return
    kind, _, shown = request.headers.get("authorization", "").partition(" ")
    # A header is bytes, which ASGI's libraries read as latin-1.
    right = secrets.compare_digest(shown.strip().encode("latin-1"), token.strip().encode())
    if kind.lower() != "bearer" or not right:
        raise HTTPException(
            401,
            "a token is needed: send the header 'Authorization: Bearer TOKEN'",
            {"WWW-Authenticate": "Bearer"},
        )


async def _answer_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    allowed = (error.headers or {}).get("Allow") if error.status_code == 405 else None
    told = f"this address takes {allowed}" if allowed else error.detail
    return JSONResponse({"error": told}, error.status_code, error.headers)


async def _answer_unknown(request: Request, error: Exception) -> Response:
    places = "POST /predict, GET /, /model, /health or /metrics"
    return JSONResponse(
        {"error": f"there is nothing at {request.url.path[:80]}; ask {places}"}, 404
    )


async def _answer_nobody(_: Request, error: Exception) -> Response:
    return Response(status_code=499)  # as proxies log it; it is not sent


async def _answer_overload(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 503, {"Retry-After": "1"})


async def _answer_failure(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 500)


async def _answer_fault(_: Request, error: Exception) -> Response:
    """A mistake of ours, or no memory: uvicorn writes the traceback to the server's log."""
    return JSONResponse({"error": "the server failed on this; its log tells more"}, 500)
