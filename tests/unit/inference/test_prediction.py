import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xception.errors import InputError, RunFailedError
from xception.inference import predict
from xception.inference.inputs import find_images, require_images
from xception.weights.files import open_model

CLASSES = [f"class {i}" for i in range(7)]


@pytest.fixture(scope="module")
def loaded(seven_classes):
    return open_model(seven_classes)


@pytest.fixture
def folder(tmp_path):
    """Three images, a subfolder with another, four files that are none, and a circular link."""
    generator = np.random.default_rng(0)
    names = ["b.png", "a.jpg", "deep/er/c.PNG", "[x] é.bmp"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "zero.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "notes.txt").write_text("not meant")
    (tmp_path / ".hidden.png").write_text("not meant")
    (tmp_path / "loop").symlink_to(tmp_path)
    return tmp_path


def names(paths, folder):
    return [os.path.relpath(path, folder) for path in paths]


def test_predict_equals_the_model_on_the_preprocessed_image(loaded, folder):
    from xception.data.decoding import decode_image

    (prediction,) = predict(loaded, [folder / "b.png"], top_k=3, device="cpu")
    image = loaded.preprocessing(decode_image((folder / "b.png").read_bytes()))
    with torch.no_grad():
        logits = loaded.model(loaded.preprocessing.normalize(image[None]))
    expected = logits.softmax(dim=1)[0].sort(descending=True)
    assert prediction.indices == tuple(expected.indices[:3].tolist())
    # the memory layout differs, and with it the order of float32 additions
    assert prediction.probabilities == pytest.approx(expected.values[:3].tolist(), rel=1e-4)
    assert prediction.classes == tuple(CLASSES[i] for i in prediction.indices)
    assert prediction.error is None


def test_predict_gives_the_sigmoids_of_a_model_for_several_labels(loaded, folder):
    """By hand: 1 / (1 + exp(-z)), which need not add up to one; logits of 30 and 40 stay apart."""
    several = replace(loaded, description=replace(loaded.description, multi_label=True))
    chosen = torch.tensor([-1.0, 30.0, 0.0, 40.0, 2.0, -50.0, 0.5])

    class Fixed(torch.nn.Module):
        num_classes = 7

        def forward(self, images):
            return chosen.expand(len(images), -1)

    several = replace(several, model=Fixed())
    (prediction,) = predict(several, [folder / "b.png"], top_k=5, device="cpu")
    assert prediction.indices == (3, 1, 4, 6, 2)
    by_hand = [1 / (1 + math.exp(-z)) for z in (40.0, 30.0, 2.0, 0.5, 0.0)]
    assert prediction.probabilities == pytest.approx(by_hand, rel=1e-6)  # float32


def test_predict_gives_a_row_for_each_unreadable_file(loaded, folder):
    found = {Path(p.path).name: p for p in predict(loaded, [folder], device="cpu")}
    assert {name: p.error for name, p in found.items() if p.error} == {
        "zero.jpg": "the file is empty (0 bytes)",
        "text.jpg": "it is not an image of a known format",
        "cut.jpg": "the file is truncated",
        "folder.jpg": "it is a folder",
    }
    assert sorted(name for name, p in found.items() if not p.error) == [
        "[x] é.bmp", "a.jpg", "b.png", "c.PNG"
    ]  # fmt: skip


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 3, "num_workers": 2}])
def test_predict_is_the_same_for_any_batch_and_number_of_workers(loaded, folder, options):
    alone = list(predict(loaded, [folder], device="cpu"))
    other = list(predict(loaded, [folder], device="cpu", **options))
    assert [(p.path, p.error, p.indices) for p in alone] == [
        (p.path, p.error, p.indices) for p in other
    ]
    for p, q in zip(alone, other, strict=True):
        assert p.probabilities == pytest.approx(q.probabilities, rel=1e-4)


def test_predict_names_no_more_classes_than_there_are(loaded, folder):
    (prediction,) = predict(loaded, [folder / "b.png"], top_k=50, device="cpu")
    assert len(prediction.classes) == 7
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-5)


def test_predict_looks_for_files_while_it_classifies(loaded, folder):
    """A million images must not be listed, or even held, before the first is classified."""
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield folder / "b.png"

    predictions = predict(loaded, endless(), batch_size=2, device="cpu")
    for _ in range(6):
        next(predictions)
    assert len(asked) <= 8


def test_predict_keeps_the_consumers_gradient_mode(loaded, folder):
    for _ in predict(loaded, [folder / "b.png"], device="cpu"):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_predict_refuses_wrong_values_at_once(loaded, folder):
    for wrong in ({"top_k": 0}, {"batch_size": 0}, {"num_workers": -1}):
        with pytest.raises(InputError, match=next(iter(wrong)).replace("num_", "")):
            predict(loaded, [folder], device="cpu", **wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_predict_without_a_gpu_names_the_remedy(loaded, folder):
    with pytest.raises(InputError, match="PyTorch sees 0 GPUs here; give --device cpu"):
        predict(loaded, [folder], device="cuda")


def test_predict_stops_at_a_model_that_gives_nan(loaded, folder):
    hook = loaded.model.register_forward_hook(lambda module, images, logits: logits * float("nan"))
    try:
        with pytest.raises(RunFailedError, match=r"b\.png is NaN"):
            list(predict(loaded, [folder / "b.png"], device="cpu"))
    finally:
        hook.remove()


def test_predict_does_not_wait_for_a_pipe(loaded, tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (prediction,) = predict(loaded, [tmp_path / "pipe.jpg"], device="cpu")
    assert prediction.error == "it is a device or a pipe, not a file"


def test_predict_does_not_read_a_file_that_is_too_large(loaded, tmp_path):
    with (tmp_path / "disk.jpg").open("wb") as file:
        file.truncate(2**40)  # a hole: takes no space
    (prediction,) = predict(loaded, [tmp_path / "disk.jpg"], device="cpu")
    assert "too many for an image" in prediction.error


def test_find_images_searches_folders_in_sorted_order(folder):
    assert names(find_images([folder]), folder) == [
        "[x] é.bmp", "a.jpg", "b.png", "cut.jpg", "deep/er/c.PNG", "folder.jpg", "text.jpg",
        "zero.jpg",
    ]  # fmt: skip


def test_find_images_takes_named_files_whatever_their_ending(folder):
    given = [folder / "notes.txt", folder / "b.png"]
    assert list(find_images(given)) == given


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["b.png"]),
        ("deep/**/*.PNG", ["deep/er/c.PNG"]),
        ("deep/**", ["deep/er/c.PNG"]),
        ("de*", ["deep/er/c.PNG"]),
        ("[ab].*", ["a.jpg", "b.png"]),
        ("[x] é.bmp", ["[x] é.bmp"]),  # it exists: no pattern
        ("*.gif", ["*.gif"]),  # becomes a row that says so
    ],
)
def test_find_images_expands_globs(folder, pattern, found):
    assert names(find_images([str(folder / pattern)]), folder) == found


def test_require_images_counts_and_refuses_nothing_at_all(folder, tmp_path):
    assert require_images([folder, folder / "b.png", folder / "missing.png"]) == 10
    (tmp_path / "empty").mkdir()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "manifest.json").touch()
    for given, message in (
        ([], "no image to classify"),
        ([tmp_path / "empty"], "there is no image in the folder"),
        ([tmp_path / "packed"], "holds packed images, which xception evaluate takes: give image f"),
        ([folder / "c.png"], "there is no file or folder .*did you mean 'b.png'"),
        ([str(folder / "*.gif")], "no file matches"),
        (["x" * 5000], "there is no file or folder"),
        (["nul\0byte.png"], "there is no file or folder"),
    ):
        with pytest.raises(InputError, match=message):
            require_images(given)
