"""Weights by name or address: where published files are, how to know them, where copies are kept.

The addresses and hashes are those that Keras, timm and torchvision themselves document. The cache
is ``$XCEPTION_CACHE``, else ``$XDG_CACHE_HOME/xception``, else ``~/.cache/xception``.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from xception.errors import InputError, RunFailedError, nearest
from xception.home import expand_home
from xception.weights.download import download, matches

_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class NamedSource:
    """A published file.

    Attributes:
        address: Where it is.
        hash: "md5:…" or "sha256:…" and hexadecimal digits; a sha256 may be its beginning alone.
        size_bytes: Its size; None where its publisher does not tell.
        summary: What it is, one line.
    """

    address: str
    hash: str
    size_bytes: int | None
    summary: str


NAMED_SOURCES = {
    "keras-imagenet": NamedSource(
        f"{_KERAS}/xception/xception_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:0a58e3b7378bc2990ea3b43d5981f1f6",
        91_884_032,
        "Keras' Xception on ImageNet, by the paper's author",
    ),
    "keras-imagenet-notop": NamedSource(
        f"{_KERAS}/xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:b0042744bf5b25fce3cb969f33bebb97",
        83_683_744,
        "the same without the logistic regression",
    ),
    "timm-imagenet": NamedSource(
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/"
        "xception-43020ad28.pth",
        "sha256:43020ad28",
        None,
        "timm's legacy_xception on ImageNet, from Cadene",
    ),
    "keras-inception-v3-imagenet": NamedSource(
        f"{_KERAS}/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:9a0d58056eeedaa3f26cb7ebd46da564",
        96_112_376,
        "Keras' Inception V3 on ImageNet",
    ),
    "keras-inception-v3-imagenet-notop": NamedSource(
        f"{_KERAS}/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "md5:bcbd6486424b2319ff4ef7d526e38f63",
        87_910_968,
        "the same without the logistic regression",
    ),
    "torchvision-inception-v3-imagenet": NamedSource(
        "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
        "sha256:0cc3c7bd",
        None,
        "torchvision's Inception V3 on ImageNet",
    ),
}


def cache_directory() -> Path:
    """Where downloaded files are kept; it need not exist.

    Raises:
        InputError: Nothing names it, and the user has no home: a container's user without account.
    """
    if own := os.environ.get("XCEPTION_CACHE"):
        return expand_home(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(shared) if shared else Path.home() / ".cache") / "xception"
    except RuntimeError:
        raise InputError(
            "there is no home directory to keep files in: set XCEPTION_CACHE to a directory that "
            "can be written"
        ) from None


class NoSuchSourceError(InputError):
    """What was named is no file, directory, named source or address."""


def fetch(source: str) -> Path:
    """Gives the local file of a name or an address, downloading it on first use.

    Args:
        source: A name of `NAMED_SOURCES`, or an ``http(s)://`` address. An address may end in
            ``#md5=…`` or ``#sha256=…``, which is then checked.

    Raises:
        NoSuchSourceError: There is no such name.
        InputError: The hash in the address is no hash.
        RunFailedError: The download failed, or the file has another hash.
    """
    if source in NAMED_SOURCES:
        named = NAMED_SOURCES[source]
        path = cache_directory() / Path(urlsplit(named.address).path).name
        return _cached(named.address, path, named.hash, named.size_bytes)
    if re.match(r"https?://", source):
        address, fragment = urldefrag(source)
        name = Path(urlsplit(address).path).name or "weights"
        key = hashlib.sha256(address.encode()).hexdigest()[:12]
        return _cached(address, cache_directory() / key / name, _hash_of(fragment), None)
    hint = nearest(source, list(NAMED_SOURCES))
    raise NoSuchSourceError(
        f"there is no file, directory or named source '{source}'{hint}: give a run directory, a "
        f"weights file, an http(s) address or one of {', '.join(NAMED_SOURCES)}"
    )


def _hash_of(fragment: str) -> str | None:
    """The hash in an address's fragment.

    Raises:
        InputError: The fragment is something else.
    """
    if not fragment:
        return None
    match = re.fullmatch(r"(md5|sha256)=([0-9a-fA-F]{8,64})", fragment)
    if match is None:
        raise InputError(f"'#{fragment}' at the end of the address is no #md5=… or #sha256=…")
    return f"{match[1]}:{match[2].lower()}"


def _cached(address: str, path: Path, expected: str | None, size_bytes: int | None) -> Path:
    if path.is_file():
        if expected is not None and not matches(path, expected):
            raise RunFailedError(
                f"{path} is not the published file (its {expected.replace(':', ' ')} does not "
                f"match): delete it to download it again from {address}"
            )
        return path
    download(address, path, expected=expected, size_bytes=size_bytes)
    return path


def published_as(path: Path) -> str | None:
    """The name of the published file that a local copy is, recognised by its hash; else None.

    Args:
        path: Any file.
    """
    for name, source in NAMED_SOURCES.items():
        if source.size_bytes not in (None, path.stat().st_size):
            continue
        if source.size_bytes is None and path.name != Path(urlsplit(source.address).path).name:
            continue
        if matches(path, source.hash):
            return name
    return None


def imagenet_class_names() -> list[str]:
    """English names of ImageNet's 1,000 classes in the order of all published weights.

    That is the order of the sorted WordNet ids. No two are the same.
    """
    from timm.data.imagenet_info import ImageNetInfo

    from xception.data.imagenet import class_titles

    return class_titles(ImageNetInfo("imagenet-1k").label_names(), [])
