import numpy as np
from sklearn.datasets import load_digits

from xception.data.digits import open_digits


def test_digits_are_scikit_learns_scans_split_once():
    train, held_out = open_digits("train"), open_digits("evaluation")
    assert (len(train), len(held_out)) == (1437, 360)
    assert train.class_names == [str(d) for d in range(10)]
    assert train[0][0].shape == (3, 32, 32)
    scans = load_digits()
    # Both splits together hold every scan's label; each class has a fifth of its images held out.
    assert sorted([*train.labels, *held_out.labels]) == sorted(scans.target)
    shares = np.bincount(held_out.labels) / np.bincount(scans.target)
    assert np.abs(shares - 0.2).max() < 0.01


def test_digits_share_no_image():
    train, held_out = (
        {image.numpy().tobytes() for image in open_digits(split).images}
        for split in ("train", "evaluation")
    )
    assert not train & held_out


def test_digits_are_enlarged_scans():
    scans = load_digits()
    source = open_digits("evaluation")
    # Averaging blocks of 4x4 undoes a bilinear enlargement by 4 but for a slight blur: the nearest
    # scan of all 1,797 is the image's own, with the same label.
    flat = scans.images.reshape(len(scans.images), -1)
    for index in range(0, 360, 30):
        image, label = source[index]
        assert (image[0] == image[1]).all()
        small = image[0].float().reshape(8, 4, 8, 4).mean((1, 3)).numpy() * 16 / 255
        nearest = np.square(flat - small.ravel()).sum(1).argmin()
        assert scans.target[nearest] == label


def test_digits_are_the_same_at_every_call():
    first, again = open_digits("train"), open_digits("train")
    assert (first.images == again.images).all()
    assert (first.labels == again.labels).all()
