"""A record of a shard: one image with its labels, as bytes.

A line of JSON (``key``, ``labels`` and, where there are some, ``weights`` and ``absent``), then the
bytes of the image file. The shards are ArrayRecord files, which number their records.
"""

import json
from typing import NamedTuple

import numpy as np

from xception.data.targets import ImageTargets


class Record(NamedTuple):
    """One image of a shard.

    Attributes:
        key: Its name in the set.
        targets: Its labels; one where the set has one label to an image.
        image: The bytes of the image file.
    """

    key: str
    targets: ImageTargets
    image: bytes


def encode_record(record: Record) -> bytes:
    r"""The record as bytes.

    Example:
        >>> stored = encode_record(Record("a.jpg", ImageTargets(np.array([3])), b"..."))
        >>> stored
        b'{"key":"a.jpg","labels":[3]}\n...'
        >>> decode_record(stored).targets.class_ids.tolist()
        [3]
    """
    targets = record.targets
    head: dict[str, object] = {"key": record.key, "labels": targets.class_ids.tolist()}
    if targets.weights is not None:
        head["weights"] = [float(weight) for weight in targets.weights]
    if targets.absent_ids is not None:
        head["absent"] = targets.absent_ids.tolist()
    return json.dumps(head, separators=(",", ":")).encode() + b"\n" + record.image


def decode_record(stored: bytes) -> Record:
    """The inverse of `encode_record`.

    Raises:
        ValueError: They are not such bytes.
    """
    line, newline, image = stored.partition(b"\n")
    if not newline:
        raise ValueError("it has no head")
    head = json.loads(line)
    try:
        weights, absent = head.get("weights"), head.get("absent")
        targets = ImageTargets(
            np.array(head["labels"], np.int64),
            None if weights is None else np.array(weights, np.float32),
            None if absent is None else np.array(absent, np.int64),
        )
        return Record(str(head["key"]), targets, image)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"its head is not one of a record ({error})") from None
