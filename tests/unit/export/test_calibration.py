import shutil

import pytest
import torch

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.export import calibration
from xception.export.calibration import Calibration, make_calibration, read_calibration
from xception.inference.prediction import open_image

PREPROCESSING = Preprocessing(size=32)


def test_read_calibration_gives_the_crops_that_the_network_sees(photographs):
    found = read_calibration([photographs], PREPROCESSING, "photographs")
    paths = sorted(photographs.glob("[0-9]*.png"))  # the false one is passed over
    expected = [PREPROCESSING(open_image(str(path))) for path in paths]
    assert (found.crops.dtype, found.crops.shape) == (torch.uint8, (12, 3, 32, 32))
    assert {crop.numpy().tobytes() for crop in found.crops} == {
        crop.numpy().tobytes() for crop in expected
    }


def test_read_calibration_draws_the_same_images_every_time(photographs, monkeypatch):
    monkeypatch.setattr(calibration, "MOST_IMAGES", 10)
    first = read_calibration([photographs], PREPROCESSING, "photographs")
    assert len(first.crops) == 10
    assert first.digest == read_calibration([photographs], PREPROCESSING, "another").digest


def test_the_draw_reaches_all_of_a_long_list(monkeypatch):
    monkeypatch.setattr(calibration, "MOST_IMAGES", 50)
    drawn = calibration._shuffled(range(1000))
    assert len(set(drawn)) == len(drawn) == 100
    # uniform: the mean of 100 of 0..999 is 499.5 ± 27; five times that
    assert abs(sum(drawn) / 100 - 499.5) < 140
    assert max(drawn) > 900
    assert min(drawn) < 100


def test_too_few_images_are_refused_with_the_remedy(photographs, tmp_path):
    for number in range(9):
        shutil.copy(photographs / "00.png", tmp_path / f"{number}.png")
    with pytest.raises(
        InputError, match=r"there are 9 readable images in my images; .* at least 10, .*--cal"
    ):
        read_calibration([tmp_path], PREPROCESSING, "my images")


def test_the_digest_tells_pixels_and_not_origin():
    crops = [torch.full((3, 2, 2), value, dtype=torch.uint8) for value in range(10)]
    first = make_calibration(crops, "one")
    assert first.digest == Calibration(torch.stack(crops), "two").digest
    crops[9] = crops[9] + 1
    assert first.digest != make_calibration(crops, "one").digest
