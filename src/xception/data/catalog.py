"""From the name of a data set, or a folder, to its source: the only place that knows the names."""

from pathlib import Path
from typing import Literal

from xception.data.folders import open_folder
from xception.data.multi_label import is_multi_label_place, open_multi_label
from xception.data.shards import is_shards_place, open_shards
from xception.data.sources import AnySource
from xception.data.tuning_split import tuning_split
from xception.errors import InputError, nearest
from xception.home import expand_home


def data_names() -> list[str]:
    """The names that ``open_source`` knows, besides folders.

    Example:
        >>> {"digits", "imagenet", "cifar10"} <= set(data_names())
        True
    """
    from xception.data.stock import STOCK

    return ["digits", "digit-scenes", "imagenet", "open-images", *sorted(STOCK)]


def open_source(
    data: str,
    split: Literal["train", "evaluation"],
    *,
    root: str | None = None,
    validation_fraction: float | None = None,
    tuning_fraction: float | None = None,
    seed: int = 0,
    by_position: bool = False,
) -> AnySource:
    """Opens one split of a data set.

    Args:
        data: ``"digits"`` and ``"digit-scenes"`` (embedded), ``"imagenet"``, ``"open-images"``,
            the name of one of torchvision's stock sets (``"cifar10"``, …: see ``data_names``),
            ``"folder"`` (then ``root`` is the folder),
            ``"multi-label"`` (then ``root`` is a folder of label tables or shards, or one table),
            or the path of such a folder or table.
        split: The images to train on, or those held out.
        root: Where the data lie: ImageNet's folder, a stock set's download folder, or an image
            folder with ``train/`` and ``test/`` that takes the stock set's place.
        validation_fraction: For folders without a held-out part of their own: the share of each
            class that is held out. None: both splits are the whole folder.
        tuning_fraction: The share of the training images that takes the place of the held-out
            ones, which are not opened then (`tuning_split`). None: the held-out images.
        seed: Chooses what is held out.
        by_position: Draws a folder's held-out share by the images' positions, as runs without a
            list of their images did.

    Raises:
        InputError: No such name or folder, or one that does not hold what it should.
    """
    from xception.data.stock import STOCK, open_stock

    root = None if root is None else str(expand_home(root))
    data = data if data in data_names() else str(expand_home(data))
    if tuning_fraction is not None:
        training = open_source(
            data,
            "train",
            root=root,
            validation_fraction=validation_fraction,
            seed=seed,
            by_position=by_position,
        )
        by_name = data not in data_names() and not by_position
        return tuning_split(training, split, tuning_fraction, seed, by_name=by_name)
    if data == "digits":
        from xception.data.digits import open_digits

        return open_digits(split)
    if data == "digit-scenes":
        from xception.data.digit_scenes import open_digit_scenes

        return open_digit_scenes(split)
    if data == "imagenet":
        from xception.data.imagenet import open_imagenet

        if root is None:
            raise InputError(
                "ImageNet needs to know where it lies: give data.root, the folder that holds "
                "train/ and val/"
            )
        return open_imagenet(root, split)
    if data == "open-images":
        from xception.data.open_images import open_images

        if root is None:
            raise InputError(
                "Open Images needs to know where it lies: give data.root, the folder that holds "
                "class-descriptions.csv, the labels, train/ and validation/"
            )
        return open_images(root, split)
    if data in STOCK:
        return open_stock(data, split, root=root)
    folder = data
    if data in ("folder", "multi-label"):
        if root is None:
            wanted = "images" if data == "folder" else "label tables"
            raise InputError(f"data.name '{data}' needs data.root: the folder with the {wanted}")
        folder = root
    elif not Path(data).exists():
        names = data_names()
        raise InputError(
            f"there is no data set or folder '{data}'{nearest(data, names)}; the data sets are "
            f"{', '.join(names)}"
        )
    if is_shards_place(Path(folder)):
        return open_shards(Path(folder), split, validation_fraction=validation_fraction, seed=seed)
    if data == "multi-label" or is_multi_label_place(Path(folder)):
        return open_multi_label(
            Path(folder), split, validation_fraction=validation_fraction, seed=seed
        )
    return open_folder(
        folder,
        split,
        validation_fraction=validation_fraction,
        seed=seed,
        by_position=by_position,
    )
