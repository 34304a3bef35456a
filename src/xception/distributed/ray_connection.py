"""The connection to a Ray cluster, or to one that is started for this run on this machine alone.

A cluster that is started here listens on loopback and asks everybody for a token that is drawn for
it and stands nowhere on disk. What an existing cluster listens on, and for whom, is its owner's
choice: see ``docs/asynchronous.md``.
"""

import logging
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xception.errors import InputError

LOCAL = "local"
PLACEMENT_SECONDS = 30.0
log = logging.getLogger(__name__)


@contextmanager
def connection(address: str, asked_by: str) -> Iterator[Any]:
    """Connects to a cluster for as long as the context lasts.

    Args:
        address: ``auto``, ``HOST:PORT``, or ``local`` for a cluster of this machine alone.
        asked_by: The option or key that names it, for the message.

    Yields:
        The library.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    local = address == LOCAL
    if local:
        _close_to_others()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise InputError(
            "Ray is not installed: pip install 'xception[distributed]'; without it "
            "torchrun starts a synchronous run on many machines, and asynchronous.engine: "
            "simulator an asynchronous one in this process"
        ) from None
    if ray.is_initialized():
        yield ray
        return
    folder = _private_folder() if local else None
    arguments: dict[str, Any] = {}
    if folder is not None:  # below it, since Ray opens its own folder to everybody
        arguments = {"include_dashboard": False, "_temp_dir": f"{folder}/s"}
    try:
        with _own_sigterm():
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=True, **arguments)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:200]
        if local:
            raise InputError(
                f"Ray can't be started on this machine ({reason}); its logs are in {folder}"
            ) from None
        raise InputError(
            f"no Ray cluster answers at {asked_by} {address} ({reason}); start one with "
            "ray start --head, or leave the option out"
        ) from None
    try:
        if local:
            _warn_unless_on_loopback(ray)
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _close_to_others() -> None:
    """What a cluster that is started by this process inherits: a token, and loopback alone."""
    # Ray asks for the token by default where it starts a cluster; drawn here, it is not written to
    # ~/.ray/auth_token, which Ray makes readable to all. It stays for a second cluster of this
    # process: Ray reads it once.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ["RAY_AUTH_MODE"] = "token"  # also where the user's environment switches it off
    # Ray's only switch for "this machine alone": its processes then bind to 127.0.0.1, and not to
    # all interfaces.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def _warn_unless_on_loopback(ray: Any) -> None:
    place = ray.util.get_node_ip_address()
    if not place.startswith("127.") and place != "::1":
        log.warning(
            "Ray was imported before this run and listens on all interfaces of %s, protected by "
            "its token alone",
            place,
        )


def _private_folder() -> str:
    """For sockets and logs; short, since a socket's path has at most about 100 characters."""
    place = "/tmp" if Path("/tmp").is_dir() else None
    return tempfile.mkdtemp(prefix="ray-", dir=place)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps the handler of SIGTERM, which ``ray.init`` replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def reserve(
    ray: Any,
    bundles: Sequence[dict[str, float]],
    *,
    asked: str,
    advice: str,
    strategy: str = "PACK",
    seconds: float = PLACEMENT_SECONDS,
) -> Any:
    """Reserves resources, all at the same time, now.

    Args:
        ray: The connected library.
        bundles: What each process needs, as Ray counts it.
        asked: Who needs it, e.g. "3 workers".
        advice: What to do where it is too much.
        strategy: Ray's: close together, or spread over the machines.
        seconds: How long resources that others hold are waited for.

    Returns:
        Ray's placement group.

    Raises:
        InputError: The cluster has less.
    """
    total = ray.cluster_resources()
    names = list(dict.fromkeys(name for bundle in bundles for name in bundle))
    needed = {name: sum(bundle.get(name, 0) for bundle in bundles) for name in names}
    told = ", ".join(f"{total.get(name, 0):,.10g} {name}" for name in names)
    if any(total.get(name, 0) < count for name, count in needed.items()):
        need = ", ".join(f"{count:,.10g} {name}" for name, count in needed.items())
        raise InputError(f"the Ray cluster has {told}; for {asked} it needs {need}; {advice}")
    from ray.util import placement_group, remove_placement_group

    group = placement_group(list(bundles), strategy=strategy)
    if not group.wait(seconds):
        remove_placement_group(group)
        different = list(dict.fromkeys(map(str, bundles)))
        each = f"{different[0]} each" if len(different) == 1 else " and ".join(different)
        raise InputError(
            f"the Ray cluster has {told} in all, but {asked} with {each} found no place within "
            f"{seconds:.0f} s (others hold it, or no single machine has enough); {advice}"
        )
    return group
