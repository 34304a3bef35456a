"""Every shipped recipe is loaded, built, stepped twice, evaluated and described."""

import json

import pytest
import torch
import yaml

from xception.recipes.load import load_recipe, shipped_recipes
from xception.recipes.run import run_recipe
from xception.training.metrics_file import read_rows

CLASSES = {"imagenet": ("n01440764", "n01443537", "n01484850")}


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """For each layout of data a folder with three classes of tiny pictures."""
    from torchvision.io import write_jpeg

    generator = torch.Generator().manual_seed(0)
    roots = {}
    for name, held_out in (("imagenet", "val"), ("cifar10", "test"), ("folder", "val")):
        root = tmp_path_factory.mktemp(name)
        for split, count in (("train", 4), (held_out, 2)):
            for label in CLASSES.get(name, ("cat", "dog", "ship")):
                (root / split / label).mkdir(parents=True)
                for number in range(count):
                    pixels = torch.randint(0, 256, (3, 40, 36), generator=generator)
                    path = root / split / label / f"{number}.jpg"
                    write_jpeg(pixels.to(torch.uint8), str(path))
        roots[name] = root
    return roots


@pytest.fixture(scope="module")
def label_trees(tmp_path_factory):
    """Pictures with several labels each: in label tables, and as Open Images lays them out."""
    from torchvision.io import write_jpeg

    generator = torch.Generator().manual_seed(0)
    tables, public = tmp_path_factory.mktemp("multi-label"), tmp_path_factory.mktemp("open")
    (tables / "classes.txt").write_text("".join(f"class {i}\n" for i in range(120)))
    mids = "".join(f"/m/{i:03d},Class {i}\n" for i in range(120))
    (public / "class-descriptions.csv").write_text(f"LabelName,DisplayName\n{mids}")
    for split, count in (("train", 8), ("validation", 3)):
        lines = ["image,labels"]
        votes = ["ImageID,Source,LabelName,Confidence"]
        (public / split).mkdir()
        for number in range(count):
            pixels = torch.randint(0, 256, (3, 40, 36), generator=generator).to(torch.uint8)
            write_jpeg(pixels, str(tables / f"{split}{number}.jpg"))
            write_jpeg(pixels, str(public / split / f"{number:016x}.jpg"))
            lines.append(f"{split}{number}.jpg,class {number}|class {number + 100}")
            for label, confidence in ((number, 1), (number + 1, 0), (number + 100, 1)):
                votes.append(f"{number:016x},verification,/m/{label:03d},{confidence}")
        (tables / f"{split}.csv").write_text("\n".join(lines))
        name = f"{split}-annotations-human-imagelabels.csv"
        (public / name).write_text("\n".join(votes))
    return {"multi-label": tables, "open-images": public}


@pytest.fixture(scope="module")
def starting_weights(tmp_path_factory):
    from xception.data.preprocessing import Preprocessing
    from xception.models.registry import create_model
    from xception.weights.files import save_model

    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    model = create_model(
        "xception", num_classes=7, width=0.125, middle_flow_repeats=1, stem_strides=(1, 1)
    )
    save_model(model, path, preprocessing=Preprocessing(size=36))
    return path


@pytest.mark.parametrize("name", shipped_recipes())
def test_recipe_trains_two_steps_and_concludes(
    name, trees, label_trees, starting_weights, tmp_path
):
    small = load_recipe(name)
    trees = trees | label_trees
    overrides = {"trainer.max_steps": "2", "trainer.accelerator": "cpu", "data.batch_size": "4"}
    overrides["trainer.log_every_n_steps"] = "1"
    overrides["data.num_workers"] = "0"
    overrides["optimizer.learning_rate"] = "1e-4"  # two steps from random weights: stay finite
    if small.keys["data"]["name"] in trees:
        overrides["data.root"] = str(trees[small.keys["data"]["name"]])
    if small.keys["model"]["name"] == "from-weights":
        overrides["model.weights"] = str(starting_weights)
    elif (small.keys["data"]["image_size"] or 299) > 128:
        overrides["data.image_size"] = "96"  # the recipe's own 299 only costs time here
        overrides["model.width"] = "0.25"
    if small.keys["model"]["num_classes"]:
        overrides["model.num_classes"] = "null"  # the data's, fewer than the 17,000 of JFT
    if small.keys["model"].get("fc_units"):
        overrides["model.fc_units"] = "[16,16]"
    recipe = load_recipe(name, [f"--{key}={value}" for key, value in overrides.items()])
    run = run_recipe(recipe, tmp_path / "run")
    losses = [row["train_loss"] for row in read_rows(run.metrics) if row["train_loss"] is not None]
    assert len(losses) == 2
    summary = json.loads(run.summary.read_text())
    assert summary["training"]["steps"] == 2
    figure = "map" if small.keys["loss"]["name"] == "sigmoid" else "top1"
    assert 0 <= summary["evaluation"][figure] <= 1
    assert run.report.exists()
    assert run.weights.exists()
    assert run.classes.exists() == (figure == "map")
    # The file beside the results is complete: it alone gives the same recipe again.
    assert (
        load_recipe(str(run.recipe)).keys == recipe.keys == yaml.safe_load(run.recipe.read_text())
    )


@pytest.mark.parametrize("name", shipped_recipes())
def test_recipe_says_what_it_is(name):
    from xception.cli.recipes import head_comment

    head = head_comment(shipped_recipes()[name])
    assert len(head[0]) > 10
    fields = dict(line.split(": ", 1) for line in head if ": " in line)
    assert {"Paper", "Command", "Time"} <= fields.keys()
    assert f"xception train {name}" in fields["Command"]


def test_imagenet_recipe_is_the_papers():
    keys = load_recipe("imagenet-xception").keys
    assert keys["model"]["dropout"] == 0.5
    assert keys["data"]["image_size"] == 299
    optimizer = keys["optimizer"]
    assert (optimizer["name"], optimizer["momentum"]) == ("sgd", 0.9)
    assert (optimizer["learning_rate"], optimizer["weight_decay"]) == (0.045, 1e-5)
    schedule = keys["schedule"]
    assert (schedule["name"], schedule["factor"], schedule["every"]) == ("exponential", 0.94, 2)
    assert (schedule["unit"], schedule["staircase"]) == ("epochs", True)
    assert keys["polyak"]["decay"] == 0.9999


def test_weight_decay_reaches_convolution_and_dense_weights_only(trees):
    from xception.recipes.build import build_classifier, build_data, build_model

    words = ["--data.root", str(trees["imagenet"]), "--data.image_size", "96"]
    recipe = load_recipe("imagenet-xception", [*words, "--data.batch_size", "4"])
    data = build_data(recipe)
    classifier = build_classifier(recipe, data, build_model(recipe, data))
    decays = {
        id(parameter): group["weight_decay"]
        for group in classifier.groups
        for parameter in group["params"]
    }
    kinds = {type(module).__name__ for module in classifier.model.modules()}
    assert "BatchNorm2d" in kinds
    for module in classifier.model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            kernel = isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)) and name == "weight"
            assert decays[id(parameter)] == (1e-5 if kernel else 0.0)


def test_finetune_takes_architecture_and_preprocessing_from_the_weights(
    trees, starting_weights, tmp_path
):
    from xception.recipes.build import build_data, build_model
    from xception.weights.files import load_model

    words = ["--model.weights", str(starting_weights), "--data.root", str(trees["folder"])]
    recipe = load_recipe("finetune", [*words, "--data.batch_size", "4", "--model.freeze=backbone"])
    data = build_data(recipe)
    model = build_model(recipe, data)
    source = load_model(starting_weights)
    assert data.preprocessing.size == 36
    assert model.num_classes == 3
    assert model.arguments["middle_flow_repeats"] == 1
    assert model.arguments["dropout"] == 0.5  # the recipe's, over the file's
    name = "entry_flow.conv1.conv.weight"
    assert torch.equal(model.state_dict()[name], source.state_dict()[name])
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trainable == ["head.classifier.weight", "head.classifier.bias"]
    model.train()
    model(torch.randn(2, 3, 36, 36))
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, source.state_dict()[name]), name


@pytest.mark.parametrize(
    ("data", "shared_decay"), [("imagenet", 1e-5), ("cifar10", 5e-4), ("digits", 5e-4)]
)
def test_inception_recipe_differs_in_model_and_weight_decay_only(data, shared_decay):
    one = load_recipe(f"{data}-xception").keys
    other = load_recipe(f"{data}-inception-v3").keys
    assert one["optimizer"].pop("weight_decay") == shared_decay
    assert other["optimizer"].pop("weight_decay") == pytest.approx(4 * shared_decay)
    for keys in (one, other):
        keys.pop("model")
    assert one == other


@pytest.mark.parametrize(("data", "margin"), [("cifar10", 0.01), ("digits", 0.04)])
def test_small_networks_have_the_same_size(data, margin):
    from xception.models.registry import create_model

    sizes = []
    for network in ("xception", "inception-v3"):
        keys = load_recipe(f"{data}-{network}").keys["model"]
        arguments = {key: keys[key] for key in ("width", "stem_strides")}
        for key in ("widths", "middle_flow_repeats", "variant"):
            if keys.get(key) is not None:
                arguments[key] = keys[key]
        model = create_model(keys["name"], num_classes=10, **arguments)
        sizes.append(sum(p.numel() for p in model.parameters()))
    assert abs(sizes[1] / sizes[0] - 1) < margin
