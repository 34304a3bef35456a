"""Writes Keras 1's HDF5 layout by its documented rules; nothing installable writes it any more.

Keras 1's ``save_weights`` stored the attribute ``layer_names`` in the order of ``model.layers``,
one group for each layer with the attribute ``weight_names``, and no ``keras_version``. Automatic
names count from 1 for each class in the order of creation; the classes were called Convolution2D,
SeparableConvolution2D, BatchNormalization and Dense; weights ended in _W, _b, _gamma, _beta,
_running_mean and _running_std (which holds the variance). The order of ``model.layers`` is that of
today's Keras: by depth from the output, then by the order of the traversal.
"""

from pathlib import Path

_CLASSES = {
    "Conv2D": ("convolution2d", ["_W", "_b"]),
    "SeparableConv2D": ("separableconvolution2d", ["_depthwise_kernel", "_pointwise_kernel"]),
    "BatchNormalization": (
        "batchnormalization",
        ["_gamma", "_beta", "_running_mean", "_running_std"],
    ),
    "Dense": ("dense", ["_W", "_b"]),
    "Activation": ("activation", []),
    "MaxPooling2D": ("maxpooling2d", []),
    "AveragePooling2D": ("averagepooling2d", []),
    "GlobalAveragePooling2D": ("globalaveragepooling2d", []),
    "Add": ("merge", []),
    "Concatenate": ("merge", []),
    "InputLayer": ("input", []),
}


def write_keras1(model, path: Path, created: list | None = None) -> None:
    """Writes a Keras 3 model's weights as Keras 1 would have.

    Args:
        model: The model.
        path: The file.
        created: The layers in the order of their creation, for their numbers; the order of
            ``model.layers`` by default.
    """
    import h5py

    counts: dict[str, int] = {}
    names = {}
    for layer in created or model.layers:
        stem = _CLASSES[type(layer).__name__][0]
        counts[stem] = counts.get(stem, 0) + 1
        names[id(layer)] = f"{stem}_{counts[stem]}"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [names[id(x)].encode() for x in model.layers]
        for layer in model.layers:
            name = names[id(layer)]
            endings = _CLASSES[type(layer).__name__][1]
            arrays = layer.get_weights()
            if len(arrays) == 3:  # BatchNorm without gamma
                endings = endings[1:]
            group = file.create_group(name)
            weight_names = [name + e for e, _ in zip(endings, arrays, strict=False)]
            group.attrs["weight_names"] = [n.encode() for n in weight_names]
            for weight_name, array in zip(weight_names, arrays, strict=True):
                group.create_dataset(weight_name, data=array)
