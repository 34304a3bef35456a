"""The socket of a server, and its end: what has been asked is answered first."""

import asyncio
import errno
import logging
import socket

import uvicorn
from starlette.types import ASGIApp

from xception.errors import InputError
from xception.signals import Terminated, received_by

GRACE_SECONDS = 30
"""How long a server that was told to end goes on with what it has begun."""

BACKLOG = 512
"""Connections that may wait to be taken."""


def bind(host: str, port: int) -> socket.socket:
    """Takes an address, before anything slow is done; nobody can connect yet.

    Args:
        host: A name or an address of this machine.
        port: 0 for any that is free.

    Raises:
        InputError: It is no address of this machine, is taken, or not allowed.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port is {port}; give 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise InputError(
            f"--host: there is no address '{host}'; give one of this machine"
        ) from None
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise InputError(_refusal(error, host, port)) from None
    return bound


def address_of(bound: socket.socket) -> str:
    """The URL of a socket's address.

    Example:
        >>> with bind("127.0.0.1", 0) as bound:
        ...     address_of(bound).startswith("http://127.0.0.1:")
        True
    """
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_local(bound: socket.socket) -> bool:
    """Whether only this machine can reach a socket's address."""
    host = bound.getsockname()[0]
    return host.startswith("127.") or host == "::1"


def listen(bound: socket.socket) -> None:
    """Lets clients connect; they wait for `serve`.

    Args:
        bound: A socket of `bind`.

    Raises:
        InputError: Somebody else has taken the address meanwhile.
    """
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        raise InputError(_refusal(error, *bound.getsockname()[:2])) from None


def serve(application: ASGIApp, bound: socket.socket) -> None:
    """Answers until a signal comes, and then what has been asked by then; a second Ctrl-C cuts off.

    Args:
        application: An ASGI application.
        bound: A socket of `bind`; it is closed at the end.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            lifespan="on",
            ws="none",
            http="h11",  # refuses heads above 64 KB; httptools gathers them without end
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    )

    def is_news(record: logging.LogRecord) -> bool:
        cut_off = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
        return not (cut_off or server.force_exit)

    log = logging.getLogger("uvicorn.error")
    log.addFilter(is_news)
    try:
        with received_by(server.handle_exit, ("SIGHUP", "SIGUSR1")):
            server.run(sockets=[bound])
    except (KeyboardInterrupt, Terminated):  # raised once more after the end
        if not server.started:
            raise
    finally:
        log.removeFilter(is_news)
        bound.close()


def _refusal(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken; give another --port, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user; give a --port from 1024 on"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host: {host} is no address of this machine; give one that is, or 0.0.0.0 for all"
    return f"can't listen on port {port} of {host}: {error.strerror}"
