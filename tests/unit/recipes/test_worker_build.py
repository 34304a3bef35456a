"""What a worker of asynchronous training builds, when it starts and when it starts anew."""

import pickle
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from xception.distributed import ray_cluster
from xception.errors import InputError
from xception.models.registry import create_model
from xception.recipes import asynchronous
from xception.recipes.build import build_data
from xception.recipes.load import load_recipe
from xception.recipes.run_list import keep_list_of_images
from xception.recipes.worker_build import WorkerBuild
from xception.training.run_directory import RunDirectory
from xception.weights.files import save_model


@pytest.fixture
def images(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(5):
            save_noise(tmp_path / "images" / name / f"{number}.png", number)
    return tmp_path / "images"


def save_noise(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def recipe_on(images, *more):
    keys = "--model.width 0.125 --model.middle_flow_repeats 1 --data.name folder "
    keys += "--data.batch_size 4 --training.keep_memory false"
    return load_recipe("digits-xception", [*keys.split(), "--data.root", str(images), *more])


def names(batches):
    return [batches.source.describe(index) for index in range(len(batches.source))]


def begun(recipe, directory):
    """The data of a run that has just begun, with the list that it keeps."""
    data = build_data(recipe)
    directory.claim(recipe.keys, resume=False, overwrite=False)
    keep_list_of_images(recipe, data, directory)
    return data


def test_a_worker_that_starts_anew_has_the_images_that_the_run_began_with(images, tmp_path):
    recipe, directory = recipe_on(images), RunDirectory(tmp_path / "run")
    data = begun(recipe, directory)
    build = WorkerBuild(recipe, directory.checkpoints, data.record)
    _, before = pickle.loads(pickle.dumps(build))()
    for number in range(20, 30):
        save_noise(images / "cat" / f"-{number}.png", number)
    _, after = pickle.loads(pickle.dumps(build))()
    assert names(after) == names(before)
    assert len(before.source) == 8  # of ten, a fifth of each class is held out
    _, drawn_anew = WorkerBuild(recipe, directory.checkpoints)()
    assert len(drawn_anew.source) > 8  # what would happen without the list


def test_a_worker_that_starts_anew_refuses_to_miss_an_image(images, tmp_path):
    recipe, directory = recipe_on(images), RunDirectory(tmp_path / "run")
    data = begun(recipe, directory)
    (images / data.record.of("train")[0].path).unlink()
    with pytest.raises(InputError, match="1 of the run's 8 training images"):
        WorkerBuild(recipe, directory.checkpoints, data.record)()


def test_workers_on_ray_are_told_the_list_that_the_run_has_just_made(monkeypatch, images, tmp_path):
    recipe, directory = recipe_on(images), RunDirectory(tmp_path / "run")
    told = []

    class StartedError(Exception):
        pass

    @contextmanager
    def connected(run, build):
        def start():
            told.append(pickle.loads(pickle.dumps(build)))  # as Ray sends it
            raise StartedError

        yield SimpleNamespace(start=start)

    monkeypatch.setattr(ray_cluster, "connected", connected)
    data = build_data(recipe)

    def begin():
        directory.claim(recipe.keys, resume=False, overwrite=False)
        keep_list_of_images(recipe, data, directory)
        return False

    run = SimpleNamespace(run=SimpleNamespace(data=data, directory=directory))
    with pytest.raises(StartedError):
        asynchronous._on_ray(recipe, run, begin, False)
    assert told[0].record == data.record
    assert len(told[0].record.of("train")) == 8


def test_a_worker_needs_no_starting_weights_once_the_run_has_saved(images, tmp_path):
    keys = {"num_classes": 3, "width": 0.125, "middle_flow_repeats": 1, "stem_strides": (1, 1)}
    torch.manual_seed(0)
    start = create_model("xception", **keys)
    save_model(start, tmp_path / "start.safetensors")
    recipe = recipe_on(images, "--model.weights", str(tmp_path / "start.safetensors"))
    checkpoints = tmp_path / "run" / "checkpoints"
    WorkerBuild(recipe, checkpoints)()
    checkpoints.mkdir(parents=True)
    described = {"architecture": "xception", "arguments": start.arguments, "numerics": "keras"}
    state = {f"model.{name}": value for name, value in start.state_dict().items()}
    torch.save({"xception": described, "state_dict": state}, checkpoints / "last.ckpt")
    (tmp_path / "start.safetensors").unlink()
    classifier, _ = WorkerBuild(recipe, checkpoints)()
    found, expected = classifier.model.state_dict(), start.state_dict()
    assert all(torch.equal(found[n], expected[n]) for n in expected if not n.startswith("head."))
    with pytest.raises(InputError, match=r"model\.weights: there is no file"):
        WorkerBuild(recipe, tmp_path / "nowhere")()
