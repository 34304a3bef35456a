"""ImageNet (ILSVRC-2012) as it is distributed, or already sorted into folders.

Labels are the sorted WordNet ids' numbers, as everywhere (Keras, torchvision, timm). The ground
truth of the validation images counts differently: by ILSVRC2012 ids, which ``meta.mat`` maps to
WordNet ids. The devkits from 2014 on bring a blacklist of 1,762 of the 50,000 validation images,
which the paper leaves out.

::

    root/train/<wnid>/*.JPEG
    root/val/ILSVRC2012_val_00000001.JPEG …       as distributed, needs the devkit; or
    root/val/<wnid>/ILSVRC2012_val_*.JPEG          sorted
    root/…/data/meta.mat                           the devkit, unpacked at most three levels deep
    root/…/data/ILSVRC2012_validation_ground_truth.txt
    root/…/ILSVRC2014_clsloc_validation_blacklist.txt
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from xception.data.folders import class_folders, require_folder, scan_classes
from xception.data.sources import FileSource
from xception.errors import InputError
from xception.home import expand_home

META = "meta.mat"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
BLACKLIST = "ILSVRC2014_clsloc_validation_blacklist.txt"
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g$", re.IGNORECASE)
_WNID = re.compile(r"n\d{8}$")
_DEVKIT_DEPTH = 3


class Synset(NamedTuple):
    """A class of ImageNet: its number in the devkit, its WordNet id, its names in English."""

    ilsvrc_id: int
    wnid: str
    words: str


class ImageNetSource:
    """One split of ImageNet.

    Args:
        files: The images, labelled by sorted WordNet ids.
        wnids: The WordNet id of each class, sorted.
        synsets: The classes of ``meta.mat``, for readable names; or nothing.
        blacklist: Numbers of the validation images that are blacklisted, from 1.

    Attributes:
        wnids: The WordNet id of each class, sorted; a label is an index into them.
        blacklisted: The indices of blacklisted images: to be left out of the paper's figure, and
            counted in the figure on all images. Empty without a blacklist, and for training.
    """

    def __init__(
        self,
        files: FileSource,
        wnids: list[str],
        synsets: list[Synset],
        blacklist: frozenset[int] = frozenset(),
    ) -> None:
        self._files = files
        self.labels = files.labels
        self.wnids = wnids
        self.class_names = class_titles(wnids, synsets)
        self.blacklisted: set[int] = set()
        if blacklist:
            numbers = (_image_number(files.describe(index)) for index in range(len(files)))
            self.blacklisted = {i for i, number in enumerate(numbers) if number in blacklist}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._files[index]

    def encoded(self, index: int) -> tuple[bytes, int]:
        """The bytes of the file, and the label."""
        return self._files.encoded(index)

    def describe(self, index: int) -> str:
        """The file's path."""
        return self._files.describe(index)


def open_imagenet(root: str, split: Literal["train", "evaluation"]) -> ImageNetSource:
    """Opens ImageNet's training or validation images.

    Args:
        root: The folder that holds ``train/`` or ``val/``, and the devkit if ``val/`` is flat. Only
            the part that is asked for must be there.
        split: Which part.

    Raises:
        InputError: A folder or a file of the devkit is missing or does not fit the images.
    """
    base = expand_home(root)
    require_folder(base)
    meta = _find(base, META)
    synsets = read_meta(meta) if meta else []
    train = base / "train"
    wnids = _wnids(train) if train.is_dir() else []
    if split == "train":
        if not train.is_dir():
            raise InputError(
                f"ImageNet in {base} has no folder train/ with a folder per WordNet id"
            )
        return ImageNetSource(scan_classes(train, wnids), wnids, synsets)
    folder = next((base / n for n in ("val", "validation") if (base / n).is_dir()), None)
    if folder is None:
        raise InputError(f"ImageNet in {base} has no folder val/ with the validation images")
    if any(entry.is_dir() and not entry.name.startswith(".") for entry in os.scandir(folder)):
        wnids = wnids or _wnids(folder)
        files = _sorted_validation(folder, wnids)
    else:
        wnids = wnids or sorted(s.wnid for s in synsets)
        files = _flat_validation(base, folder, wnids, synsets)
    blacklist = _find(base, BLACKLIST)
    return ImageNetSource(
        files, wnids, synsets, frozenset(_integers(blacklist) if blacklist else ())
    )


def read_meta(path: Path) -> list[Synset]:
    """The classes (not the inner nodes of the hierarchy) in the devkit's ``meta.mat``.

    Raises:
        InputError: The file is not what the devkit holds.
    """
    from scipy.io import loadmat

    try:
        table = np.atleast_1d(loadmat(path, squeeze_me=True)["synsets"])
        return [
            Synset(int(row["ILSVRC2012_ID"]), str(row["WNID"]), str(row["words"]))
            for row in table
            if int(row["num_children"]) == 0
        ]
    except Exception as error:  # scipy raises whatever a damaged file trips in it
        raise InputError(
            f"{path} is not the meta.mat of ILSVRC-2012's devkit ({error}); unpack the devkit again"
        ) from None


def class_titles(wnids: list[str], synsets: list[Synset]) -> list[str]:
    """One readable name per WordNet id, each different.

    The names are those that timm ships, which published weights get too, so that a model and the
    data agree on them; else those of ``meta.mat``, else the WordNet id. Two pairs of ImageNet's
    classes share their first name (crane, maillot): they get their id beside it.

    Args:
        wnids: WordNet ids.
        synsets: The classes of ``meta.mat``, or nothing.
    """
    names = {s.wnid: s.words.split(",")[0] for s in synsets} | _timm_names()
    titles = [names.get(wnid, wnid) for wnid in wnids]
    count = Counter(titles)
    return [t if count[t] == 1 else f"{t} ({w})" for t, w in zip(titles, wnids, strict=True)]


def _timm_names() -> dict[str, str]:
    """The first English name of each of the 1,000 classes, by WordNet id."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return {w: info.label_name_to_description(w).split(",")[0] for w in info.label_names()}


def _wnids(folder: Path) -> list[str]:
    """The WordNet ids after which the class folders are named, sorted."""
    names = class_folders(folder)
    wrong = [name for name in names if not _WNID.match(name)]
    if wrong:
        raise InputError(
            f"{folder / wrong[0]} is not called after a WordNet id like n01440764; for other "
            "classes than ImageNet's use data.name folder"
        )
    return names


def _sorted_validation(folder: Path, wnids: list[str]) -> FileSource:
    """Validation images that lie in one folder per WordNet id."""
    folders = _wnids(folder)
    unknown = sorted(set(folders) - set(wnids))
    if unknown:
        raise InputError(
            f"the class folder {folder / unknown[0]} has no counterpart in train/; add one or "
            "remove it"
        )
    return scan_classes(folder, folders, wnids)


def _flat_validation(
    base: Path, folder: Path, wnids: list[str], synsets: list[Synset]
) -> FileSource:
    """Validation images that lie in one folder, with their labels from the devkit's ground truth.

    With fewer classes in ``train/`` than in the devkit, only these classes' images.
    """
    truth_file = _find(base, GROUND_TRUTH)
    if not synsets or truth_file is None:
        missing = META if not synsets else GROUND_TRUTH
        raise InputError(
            f"the images in {folder} are not sorted into classes, and the devkit's {missing} is "
            f"not below {base}; unpack ILSVRC2012_devkit_t12.tar.gz there, or sort the images "
            "into folders called after WordNet ids"
        )
    truth = _integers(truth_file)
    label_of_wnid = {wnid: label for label, wnid in enumerate(wnids)}
    label_of_id = {s.ilsvrc_id: label_of_wnid.get(s.wnid, -1) for s in synsets}
    unknown = next((i for i in truth if i not in label_of_id), None)
    if unknown is not None:
        raise InputError(f"{truth_file} has the class {unknown}, which {META} does not know")
    paths, labels = [], []
    for name in sorted(entry.name for entry in os.scandir(folder)):
        number = _image_number(name)
        if number is None:
            continue
        if not 1 <= number <= len(truth):
            raise InputError(
                f"{folder / name} has no line in {truth_file}, which has {len(truth)}; the devkit "
                "does not belong to these images"
            )
        label = label_of_id[truth[number - 1]]
        if label >= 0:
            paths.append(name)
            labels.append(label)
    if not paths:
        raise InputError(
            f"{folder} has no images called like ILSVRC2012_val_00000001.JPEG; unpack "
            "ILSVRC2012_img_val.tar there"
        )
    return FileSource(folder, paths, labels, wnids)


def _image_number(path: str) -> int | None:
    """The number of a validation image, from 1, in its file name; None for another name."""
    match = _VALIDATION_NAME.search(path)
    return int(match[1]) if match else None


def _integers(path: Path) -> list[int]:
    """The numbers in a file with one to a line."""
    try:
        return [int(word) for word in path.read_text().split()]
    except ValueError as error:
        raise InputError(f"{path} should hold one number per line: {error}") from None


def _find(base: Path, name: str) -> Path | None:
    """A file of the devkit, wherever it was unpacked below ``base``, but not among the images."""
    level = [base]
    for _ in range(_DEVKIT_DEPTH + 1):
        for folder in level:
            if (folder / name).is_file():
                return folder / name
        level = [
            Path(entry.path)
            for folder in level
            for entry in os.scandir(folder)
            if entry.is_dir()
            and not (folder == base and entry.name in ("train", "val", "validation", "test"))
        ]
    return None
