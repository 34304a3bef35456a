"""What a request brings: one image as its body, or several in a form."""

from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

MOST_IMAGES = 64
"""Of one form, where as many may wait."""

_DISCARDED = 4
"""How many times the largest body is read past it, so that its client hears why it is refused."""

_FORM = "send images as its files (curl -F image=@…)"


class SentImage(NamedTuple):
    """An image as it came.

    Attributes:
        name: Its file's name, or that of its field, or "the image" for a body.
        encoded: The bytes of the file.
    """

    name: str
    encoded: bytes


def is_form(request: Request) -> bool:
    """Whether a request brings a form with files. (Curl calls a plain body a form of fields.)"""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_images(request: Request, most_bytes: int, most_images: int) -> list[SentImage]:
    """Reads the body.

    Args:
        request: A POST.
        most_bytes: Of the body, all images together.
        most_images: Of a form.

    Returns:
        One image of a plain body; of a form, every file in its order.

    Raises:
        HTTPException: 400 for nothing, a broken form, or too many images; 413 for too much.
        ClientDisconnect: The client has gone before it had sent all.
    """
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:18]) > most_bytes:
        if "expect" not in request.headers:  # those that have it ask before they send
            await _discard(request.receive, _DISCARDED * most_bytes)
        raise _too_much(most_bytes)
    request = Request(request.scope, _limited(request.receive, most_bytes))
    if not is_form(request):
        encoded = await request.body()
        if not encoded:
            raise HTTPException(400, "the body is empty; send the bytes of an image file")
        return [SentImage("the image", encoded)]
    try:
        async with request.form(max_files=most_images) as form:
            images = [
                SentImage(value.filename or field, await value.read())
                for field, value in form.multi_items()
                if not isinstance(value, str)
            ]
    except HTTPException as error:
        if error.status_code != 400:
            raise
        why = error.detail.rstrip(".").replace(". ", ": ")  # of the parser
        raise HTTPException(400, f"the form can't be read: {why}; {_FORM}") from None
    if not images:
        raise HTTPException(400, f"the form has no file; {_FORM}")
    return images


def classes_asked_for(request: Request, default: int, most: int) -> int:
    """The k of ``?top_k=k``, no more than there are classes.

    Raises:
        HTTPException: 400: it is no number from 1 on.
    """
    text = request.query_params.get("top_k")
    if text is None:
        return min(default, most)
    if not (text.isascii() and text.isdigit()) or int(text[:9]) < 1:
        raise HTTPException(400, f"top_k is '{text[:40]}'; give a whole number from 1 on")
    return min(int(text[:9]), most)


def _limited(receive: Receive, most_bytes: int) -> Receive:
    """Passes a body on and stops where it is too long, whatever it announced."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most_bytes:
            if message.get("more_body", False):
                await _discard(receive, _DISCARDED * most_bytes)
            raise _too_much(most_bytes)
        return message

    return limited


async def _discard(receive: Receive, most_bytes: int) -> None:
    """Reads the rest of a body, without keeping it.

    Most clients listen when they have sent all; one that is cut off hears of a broken pipe.
    """
    while most_bytes > 0:
        message = await receive()
        most_bytes -= len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def _too_much(most_bytes: int) -> HTTPException:
    return HTTPException(413, f"the body has more than {most_bytes:,} bytes, the limit")
