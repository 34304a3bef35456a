"""Which images of each class are held out where the data have no held-out part of their own.

By name, for folders: each image's place in its class's queue is a hash of the seed, the class and
the file's name, so that images that come or go move none of the others but for one at the border.
By position, for sets whose list does not change: a seeded permutation of each class.
"""

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np

from xception.errors import InputError


def held_out_by_name(
    names: Sequence[str], labels: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """The images of a stratified held-out share, sorted: a pure function of names and classes.

    Of a class of n images, ``fraction * n`` are held out, rounded, but at least one and at most
    n - 1; of a class of one image, none. They are those with the least hashes of (seed, name):
    an image that is added or removed changes the part of at most one other of its class, and
    classes that come or go change nothing.

    Args:
        names: One per image, the class's name in it, unique.
        labels: (len(names),) the classes; only which are equal counts.
        fraction: Share that is held out, in (0, 1).
        seed: Chooses it.

    Raises:
        InputError: A fraction outside (0, 1), or nothing is left to hold out.

    Example:
        >>> names = [f"cat/{i}.jpg" for i in range(5)]
        >>> held_out_by_name(names, np.zeros(5), 0.2, seed=0).size
        1
    """
    places = np.array([_place(name, seed) for name in names], dtype=np.uint64)
    chosen = []
    for label, count in _shares(labels, fraction):
        members = np.flatnonzero(labels == label)
        # Equal hashes (one in 10^19 pairs) are told apart by the order of the names.
        chosen.append(members[np.argsort(places[members], kind="stable")[:count]])
    return _together(chosen)


def held_out_by_position(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """The same share, drawn by the images' positions: a pure function of the labels.

    Raises:
        InputError: A fraction outside (0, 1), or nothing is left to hold out.

    Example:
        >>> held_out_by_position(np.array([0] * 5 + [1] * 5), 0.2, seed=0).size
        2
    """
    chosen = []
    for label, count in _shares(labels, fraction):
        members = np.flatnonzero(labels == label)
        # A stream for each class: a new class behind the others changes none of their shares.
        shuffled = np.random.default_rng([seed, int(label)]).permutation(members)
        chosen.append(shuffled[:count])
    return _together(chosen)


def _place(name: str, seed: int) -> int:
    # A Mac hands out the names of files decomposed (e + accent), other systems as they were given.
    text = unicodedata.normalize("NFC", f"{seed}\0{name}")
    digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _shares(labels: np.ndarray, fraction: float) -> list[tuple[int, int]]:
    """Every class with how many of its images are held out."""
    if not 0 < fraction < 1:
        raise InputError(f"validation_fraction is {fraction}; it must be between 0 and 1")
    classes, sizes = np.unique(labels, return_counts=True)
    return [
        (int(label), min(max(round(fraction * int(size)), 1), int(size) - 1))
        for label, size in zip(classes, sizes, strict=True)
    ]


def _together(chosen: list[np.ndarray]) -> np.ndarray:
    indices = np.sort(np.concatenate(chosen))
    if not indices.size:
        raise InputError(
            "no image can be held out: every class has a single one; add images or a val/ folder"
        )
    return indices
