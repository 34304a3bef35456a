"""Our own .safetensors, checkpoints and run directories: what is saved comes back, exactly."""

import json

import pytest
import safetensors.torch
import torch

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError
from xception.models.registry import create_model
from xception.weights.containers import read_safetensors_metadata
from xception.weights.conversion import convert
from xception.weights.files import load_model, open_model, read_description, save_model

NAMES = ["cat", "dog", 'Ω "quoted"']
PREPROCESSING = Preprocessing(size=32, mode="resize-crop", crop_fraction=0.9)


def logits(model, images):
    with torch.no_grad():
        return model(images)


def checkpoint_of(model, averaged, **more):
    state = {f"model.{k}": v for k, v in model.state_dict().items()}
    polyak = {"decay": 0.9, "updates": 5, "state_dict": averaged.state_dict()}
    return {
        "xception": {
            "architecture": model.architecture,
            "arguments": model.arguments,
            "class_names": NAMES,
            "preprocessing": PREPROCESSING.to_dict(),
            "numerics": model.numerics,
        },
        "state_dict": state | {"metric.total": torch.zeros(3)},
        "polyak": polyak,
        "epoch": 2,
        "global_step": 40,
        **more,
    }


def test_save_and_open_give_the_same_model(model, images, tmp_path):
    path = tmp_path / "a.safetensors"
    save_model(
        model,
        path,
        class_names=NAMES,
        preprocessing=PREPROCESSING,
        provenance={"recipe": "digits-xception"},
        multi_label=True,
    )
    loaded = open_model(path)
    assert torch.equal(logits(loaded.model, images), logits(model, images))
    assert not loaded.model.training
    assert loaded.class_names == NAMES
    assert loaded.preprocessing == PREPROCESSING
    assert loaded.description.provenance == {"recipe": "digits-xception"}
    assert loaded.description.multi_label
    assert not open_model(path, num_classes=2).description.multi_label  # a new head, another task
    convert(path, tmp_path / "b.safetensors")
    assert read_description(tmp_path / "b.safetensors").multi_label
    assert loaded.model.arguments == model.arguments
    assert loaded.path == path


@pytest.mark.parametrize(
    "arguments",
    [
        {"numerics": "timm", "fc_units": (8, 4), "fc_activation": None, "dropout": 0.5},
        {"residual": False, "intermediate_activation": "elu", "order": "pointwise-first"},
        {"in_channels": 1, "segments": 8, "num_classes": 0},
        {"features_only": True, "output_stride": 16},
    ],
)
def test_every_argument_comes_back(arguments, make_model, tmp_path):
    model = make_model(**arguments)
    save_model(model, tmp_path / "a.safetensors")
    loaded = open_model(tmp_path / "a.safetensors")
    assert loaded.model.arguments == model.arguments
    assert loaded.model.numerics == model.numerics
    saved = loaded.model.state_dict()
    assert all(torch.equal(saved[k], v) for k, v in model.state_dict().items())


def test_the_header_is_json_that_others_can_read(model, tmp_path):
    save_model(model, tmp_path / "a.safetensors", class_names=NAMES)
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        told = json.loads(file.metadata()["xception"])
    assert told["architecture"] == "xception"
    assert told["numerics"] == "keras"
    assert told["class_names"] == NAMES
    assert told["format_version"] == 1


def test_a_compiled_or_wrapped_model_is_saved_without_prefixes(model, images, tmp_path):
    compiled = torch.compile(model, backend="eager")
    save_model(compiled, tmp_path / "a.safetensors")
    assert torch.equal(
        logits(load_model(tmp_path / "a.safetensors"), images), logits(model, images)
    )


def test_loading_leaves_the_random_state_alone(model, tmp_path):
    save_model(model, tmp_path / "a.safetensors")
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    load_model(tmp_path / "a.safetensors")
    assert torch.equal(torch.rand(1), expected)


def test_read_description_reads_no_tensor(model, tmp_path):
    path = tmp_path / "a.safetensors"
    save_model(model, path, class_names=NAMES)
    assert read_description(path).class_names == NAMES
    assert read_description(path).num_classes == 3


def test_class_names_must_be_as_many_as_logits(model, tmp_path):
    with pytest.raises(InputError, match="2 class names for 3 logits"):
        save_model(model, tmp_path / "a.safetensors", class_names=["a", "b"])
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_module_is_not_saved(tmp_path):
    with pytest.raises(InputError, match="a Linear is none of this project's models"):
        save_model(torch.nn.Linear(2, 2), tmp_path / "a.safetensors")


def test_a_missing_directory_is_named(model, tmp_path):
    with pytest.raises(InputError, match=r"there is no directory .*missing"):
        save_model(model, tmp_path / "missing" / "a.safetensors")


def test_checkpoints_give_averaged_weights_or_raw_ones(make_model, images, tmp_path):
    raw, averaged = make_model(1), make_model(2)
    path = tmp_path / "last.ckpt"
    torch.save(checkpoint_of(raw, averaged), path)
    assert torch.equal(logits(load_model(path), images), logits(averaged, images))
    loaded = open_model(path, weights="raw")
    assert torch.equal(logits(loaded.model, images), logits(raw, images))
    assert loaded.class_names == NAMES
    assert loaded.preprocessing == PREPROCESSING
    told = loaded.description.provenance
    assert told == {"weights": "raw", "epoch": 2, "global_step": 40}


def test_checkpoints_without_averaging_give_raw_weights(make_model, images, tmp_path):
    raw = make_model(1)
    torch.save(checkpoint_of(raw, raw, polyak=None), tmp_path / "last.ckpt")
    assert torch.equal(logits(load_model(tmp_path / "last.ckpt"), images), logits(raw, images))


def test_run_directories_give_their_weights(make_model, images, tmp_path):
    raw, averaged = make_model(1), make_model(2)
    (tmp_path / "checkpoints").mkdir()
    torch.save(checkpoint_of(raw, raw), tmp_path / "checkpoints" / "last.ckpt")
    assert open_model(tmp_path).path.name == "last.ckpt"  # a run that is not finished
    save_model(averaged, tmp_path / "model.safetensors")
    assert torch.equal(logits(load_model(tmp_path), images), logits(averaged, images))
    loaded = open_model(tmp_path, weights="raw")
    assert torch.equal(logits(loaded.model, images), logits(raw, images))


def test_raw_weights_of_a_single_file_are_an_error(model, tmp_path):
    save_model(model, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="holds one set of weights"):
        open_model(tmp_path / "a.safetensors", weights="raw")


def test_a_directory_without_a_run_is_an_error(tmp_path):
    with pytest.raises(
        InputError, match=r"holds no model.safetensors and no checkpoints/last.ckpt"
    ):
        open_model(tmp_path)


def altered(model, tmp_path, change):
    """A file of ours whose tensors or description were changed."""
    save_model(model, tmp_path / "good.safetensors")
    tensors = safetensors.torch.load_file(tmp_path / "good.safetensors")
    told = read_safetensors_metadata(tmp_path / "good.safetensors")["xception"]
    change(tensors, told)
    path = tmp_path / "changed.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"xception": json.dumps(told)})
    return path


def test_missing_extra_and_misshapen_tensors_are_all_listed(model, tmp_path):
    def change(tensors, _):
        del tensors["head.classifier.bias"]
        tensors["head.other"] = torch.zeros(2)
        tensors["head.classifier.weight"] = torch.zeros(4, 2)

    with pytest.raises(InputError) as error:
        open_model(altered(model, tmp_path, change))
    for part in (
        "1 missing: head.classifier.bias",
        "1 extra: head.other",
        "1 misshapen: head.classifier.weight (4x2 in the file, 3x256 in the model)",
    ):
        assert part in str(error.value)


def test_a_wrong_number_of_classes_in_the_description_is_told(model, tmp_path):
    def change(_, told):
        told["arguments"]["num_classes"] = 5

    with pytest.raises(InputError, match=r"head.classifier.bias \(3 in the file, 5 in the model\)"):
        open_model(altered(model, tmp_path, change))


def test_not_a_number_is_refused(model, tmp_path):
    def change(tensors, _):
        tensors["head.classifier.bias"][0] = float("nan")

    with pytest.raises(InputError, match=r"NaN or infinity in head.classifier.bias"):
        open_model(altered(model, tmp_path, change))


def test_missing_batch_counters_do_no_harm(model, images, tmp_path):
    def change(tensors, _):
        for name in [k for k in tensors if k.endswith("num_batches_tracked")]:
            del tensors[name]

    path = altered(model, tmp_path, change)
    assert torch.equal(logits(load_model(path), images), logits(model, images))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format_version", 2, "format version 2, this program reads up to 1"),
        ("architecture", None, "no valid 'architecture'"),
        ("architecture", "xcepton", "did you mean 'xception'"),
        ("arguments", {"wdth": 1}, "has no argument 'wdth'; did you mean 'width'"),
        ("class_names", "cat", "no valid 'class_names'"),
        ("multi_label", "no", "no valid 'multi_label'"),
    ],
)
def test_bad_descriptions_are_told(key, value, message, model, tmp_path):
    def change(_, told):
        told[key] = value

    with pytest.raises(InputError, match=message):
        open_model(altered(model, tmp_path, change))


def test_half_precision_files_are_loaded_as_float32(model, images, tmp_path):
    def change(tensors, _):
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                tensors[name] = tensor.to(torch.bfloat16)

    loaded = load_model(altered(model, tmp_path, change))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    error = (logits(loaded, images) - logits(model, images)).abs().max()
    assert 0 < error < 0.1 * logits(model, images).abs().max()  # bfloat16 has 8 bits


def test_every_model_of_the_registry_can_be_described():
    from xception.weights.files import describe

    with torch.device("meta"):
        for name in ("xception", "inception_v3", "resnet50", "vgg16"):
            described = describe(create_model(name, num_classes=5))
            assert described.architecture == name
            assert described.num_classes == 5


def test_a_class_name_that_is_no_text_is_refused_before_anything_is_written(make_model, tmp_path):
    names = ["cat", "caf\udce9", "dog"]  # of a folder whose name is Latin-1
    with pytest.raises(InputError, match=r"description can't be written .*surrogates"):
        save_model(make_model(num_classes=3), tmp_path / "m.safetensors", class_names=names)
    assert not list(tmp_path.iterdir())
