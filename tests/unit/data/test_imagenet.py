from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from xception.data.imagenet import BLACKLIST, GROUND_TRUTH, META, class_titles, open_imagenet
from xception.errors import InputError

# In the devkit, ids do not follow the sorted WordNet ids, and inner nodes come after the classes.
SYNSETS = [
    (1, "n02119789", "kit fox, Vulpes macrotis", 0),
    (2, "n02012849", "crane", 0),
    (3, "n01440764", "tench, Tinca tinca", 0),
    (4, "n03126707", "crane", 0),
    (5, "n00001740", "entity", 4),
]
WNIDS = ["n01440764", "n02012849", "n02119789", "n03126707"]
TITLES = ["tench", "crane (n02012849)", "kit fox", "crane (n03126707)"]
TRUTH = [3, 1, 4, 2, 1, 3]  # ILSVRC2012 ids of validation images 1 to 6
TRUTH_LABELS = [0, 2, 3, 1, 2, 0]


def write_devkit(folder: Path, truth: list[int] | None = None) -> None:
    folder.mkdir(parents=True)
    table = np.zeros(
        len(SYNSETS),
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")],
    )
    for row, synset in enumerate(SYNSETS):
        table[row] = synset
    savemat(folder / META, {"synsets": table})
    (folder / GROUND_TRUTH).write_text("".join(f"{i}\n" for i in truth or TRUTH))


@pytest.fixture
def distributed(tmp_path, save_image) -> Callable[..., Path]:
    """ImageNet as it is distributed: val/ flat, beside the unpacked devkit."""

    def make(train: list[str] = WNIDS) -> Path:
        for wnid in train:
            save_image(tmp_path / "train" / wnid / f"{wnid}_1.JPEG")
        for number in range(1, 7):
            save_image(tmp_path / "val" / f"ILSVRC2012_val_{number:08d}.JPEG", seed=number)
        write_devkit(tmp_path / "ILSVRC2012_devkit_t12" / "data")
        return tmp_path

    return make


def test_open_imagenet_maps_the_ground_truth_through_meta(distributed):
    root = distributed()
    (root / "val" / "LICENSE.txt").write_text("no image")
    source = open_imagenet(str(root), "evaluation")
    assert source.wnids == WNIDS
    assert source.class_names == TITLES
    assert source.labels.tolist() == TRUTH_LABELS
    assert source.describe(3).endswith("val/ILSVRC2012_val_00000004.JPEG")
    assert source[3][1] == 1
    assert source.blacklisted == set()


def test_open_imagenet_labels_training_folders_in_sorted_order(distributed):
    source = open_imagenet(str(distributed()), "train")
    assert source.labels.tolist() == [0, 1, 2, 3]
    assert source.class_names == TITLES
    assert source.blacklisted == set()


@pytest.mark.parametrize("has_train", [True, False])
def test_open_imagenet_gives_sorted_folders_the_same_labels(distributed, has_train, tmp_path):
    root = distributed()
    flat = open_imagenet(str(root), "evaluation")
    of_image = {flat.describe(i)[-18:]: int(flat.labels[i]) for i in range(6)}
    for number, label in enumerate(TRUTH_LABELS, start=1):
        folder = root / "val" / WNIDS[label]
        folder.mkdir(exist_ok=True)
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        (root / "val" / name).rename(folder / name)
    if not has_train:
        (root / "train").rename(root / "elsewhere")
    (root / BLACKLIST).write_text("2\n6\n")
    source = open_imagenet(str(root), "evaluation")
    assert {source.describe(i)[-18:]: int(source.labels[i]) for i in range(6)} == of_image
    blacklisted = {source.describe(i)[-13:-5] for i in source.blacklisted}
    assert blacklisted == {"00000002", "00000006"}


def test_open_imagenet_marks_the_blacklist(distributed):
    root = distributed()
    (root / "ILSVRC2014_devkit" / "data").mkdir(parents=True)
    (root / "ILSVRC2014_devkit" / "data" / BLACKLIST).write_text("2\n5\n6\n")
    (root / "val" / ".thumbnails").mkdir()  # a viewer's: the images are not sorted for that
    source = open_imagenet(str(root), "evaluation")
    assert source.blacklisted == {1, 4, 5}  # numbers count from 1, indices from 0
    assert len(source) == 6


def test_open_imagenet_keeps_only_the_classes_that_are_trained(distributed):
    source = open_imagenet(str(distributed(train=WNIDS[2:])), "evaluation")
    assert source.wnids == WNIDS[2:]
    assert source.labels.tolist() == [0, 1, 0]
    assert [source.describe(i)[-6:-5] for i in range(3)] == ["2", "3", "5"]


def test_open_imagenet_evaluates_without_training_images(distributed):
    root = distributed()
    (root / "train").rename(root / "elsewhere")
    source = open_imagenet(str(root), "evaluation")
    assert source.labels.tolist() == TRUTH_LABELS
    with pytest.raises(InputError, match="no folder train/"):
        open_imagenet(str(root), "train")


def test_class_titles_without_devkit_are_timms_and_unique():
    from timm.data.imagenet_info import ImageNetInfo

    wnids = ImageNetInfo("imagenet-1k").label_names()
    titles = class_titles(wnids, [])
    assert len(set(titles)) == 1000
    assert (titles[0], titles[999]) == ("tench", "toilet tissue")
    assert titles[wnids.index("n03126707")] == "crane (n03126707)"
    assert class_titles(["n99999999"], []) == ["n99999999"]


def test_open_imagenet_tells_what_is_missing(distributed, tmp_path):
    with pytest.raises(InputError, match="there is no folder"):
        open_imagenet(str(tmp_path / "absent"), "train")
    root = distributed()
    data = root / "ILSVRC2012_devkit_t12" / "data"
    (data / GROUND_TRUTH).write_text("3\n1\n")
    with pytest.raises(InputError, match=r"00000003\.JPEG has no line .* has 2"):
        open_imagenet(str(root), "evaluation")
    (data / GROUND_TRUTH).write_text("3\n1\n4\n9\n1\n3\n")
    with pytest.raises(InputError, match="class 9"):
        open_imagenet(str(root), "evaluation")
    (data / GROUND_TRUTH).write_text("three\n")
    with pytest.raises(InputError, match="one number per line"):
        open_imagenet(str(root), "evaluation")
    (data / GROUND_TRUTH).unlink()
    with pytest.raises(InputError, match=f"{GROUND_TRUTH} is not below .*; unpack"):
        open_imagenet(str(root), "evaluation")
    (data / META).write_bytes(b"no matrix")
    with pytest.raises(InputError, match="unpack the devkit again"):
        open_imagenet(str(root), "evaluation")
    (data / META).unlink()
    with pytest.raises(InputError, match=f"{META} is not below"):
        open_imagenet(str(root), "evaluation")


def test_open_imagenet_refuses_folders_of_other_names(distributed):
    root = distributed()
    (root / "train" / "tench").mkdir()
    with pytest.raises(InputError, match=r"train/tench is not called after a WordNet id"):
        open_imagenet(str(root), "train")


def test_open_imagenet_refuses_a_flat_folder_without_validation_images(distributed):
    root = distributed()
    for path in (root / "val").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="no images called like"):
        open_imagenet(str(root), "evaluation")
