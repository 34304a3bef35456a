import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from xception.data import stock
from xception.data.stock import STOCK, open_stock
from xception.errors import InputError


@pytest.fixture
def offline(monkeypatch):
    """Any attempt to reach the network fails, as on a machine without one."""

    def refuse(*args, **kwargs):
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.fixture
def trusting(monkeypatch):
    """torchvision takes files for complete without comparing checksums: these are made up."""
    monkeypatch.setattr("torchvision.datasets.utils.check_md5", lambda *args, **kwargs: True)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.tobytes())


def test_fashion_mnist_becomes_rgb(tmp_path, noise):
    raw = tmp_path / "FashionMNIST" / "raw"
    for part, count in (("train", 5), ("t10k", 3)):
        write_idx(raw / f"{part}-images-idx3-ubyte", noise(count, 28, 28, seed=count))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8))
    train = open_stock("fashion-mnist", "train", root=str(tmp_path))
    held_out = open_stock("fashion-mnist", "evaluation", root=str(tmp_path))
    assert (len(train), len(held_out)) == (5, 3)
    assert train.class_names[0] == "T-shirt/top"
    image, label = train[4]
    assert label == 4
    np.testing.assert_array_equal(image.numpy(), np.stack([noise(5, 28, 28, seed=5)[4]] * 3))


def test_cifar10_keeps_channels_and_names(tmp_path, noise, trusting):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{b}" for b in range(1, 6)), "test_batch"]):
        rows = {"data": noise(2, 3072, seed=i), "labels": [i, 9]}
        (folder / name).write_bytes(pickle.dumps(rows))
    names = ["airplane", "automobile", *"bcdefghi"]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    train = open_stock("cifar10", "train", root=str(tmp_path))
    assert len(train) == 10
    assert train.class_names == names
    assert train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    np.testing.assert_array_equal(train[3][0].numpy(), noise(2, 3072, seed=1)[1].reshape(3, 32, 32))
    assert open_stock("cifar10", "evaluation", root=str(tmp_path)).labels.tolist() == [5, 9]


def test_flowers102_is_read_from_its_files(tmp_path, save_image, trusting):
    folder = tmp_path / "flowers-102"
    for number in range(1, 5):
        save_image(folder / "jpg" / f"image_{number:05d}.jpg", seed=number)
    savemat(folder / "imagelabels.mat", {"labels": [[7, 1, 102, 7]]})
    savemat(folder / "setid.mat", {"trnid": [[1, 4]], "valid": [[2]], "tstid": [[2, 3]]})
    train = open_stock("flowers102", "train", root=str(tmp_path))
    assert train.labels.tolist() == [6, 6]
    assert len(train.class_names) == 102
    assert train.describe(1) == str(folder / "jpg" / "image_00004.jpg")
    assert train[1][0].shape == (3, 9, 12)
    assert open_stock("flowers102", "evaluation", root=str(tmp_path)).labels.tolist() == [0, 101]


def test_open_stock_takes_an_image_folder_instead(tmp_path, save_image, offline):
    save_image(tmp_path / "train" / "frog" / "1.png")
    save_image(tmp_path / "test" / "frog" / "2.png")
    assert open_stock("cifar10", "train", root=str(tmp_path)).class_names == ["frog"]
    assert open_stock("cifar10", "evaluation", root=str(tmp_path)).describe(0).endswith("2.png")


@pytest.mark.parametrize("name", sorted(STOCK))
def test_open_stock_says_that_it_cannot_download(tmp_path, offline, name):
    with pytest.raises(InputError, match=rf"{name} is not in .* can't be downloaded .*data\.root"):
        open_stock(name, "train", root=str(tmp_path / "absent"))


def test_a_tree_without_held_out_images_is_told_and_not_downloaded_into(tmp_path, save_image):
    save_image(tmp_path / "train" / "cat" / "0.png")
    with pytest.raises(InputError, match=r"has train/ .* neither of val/, .*test/ beside it"):
        open_stock("cifar10", "evaluation", root=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_stock_sets_exist_in_torchvision():
    for entry in STOCK.values():
        assert hasattr(datasets, entry.title)


def test_default_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XCEPTION_DATA", str(tmp_path))
    assert stock.default_root() == tmp_path
    monkeypatch.delenv("XCEPTION_DATA")
    assert stock.default_root().parts[-3:] == (".cache", "xception", "data")
