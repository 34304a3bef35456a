"""The paper's own scales: ImageNet and JFT on a cluster."""

from xception.paper.scale import MULTI_LABEL_NETWORKS, VGG_STYLE, MultiLabelTask, Scale, Variant

IMAGENET = Scale(
    name="imagenet",
    xception="imagenet-xception",
    inception_v3="imagenet-inception-v3",
    continuum="imagenet-xception",
    shared={},
    of_xception={},
    of_continuum={},
    of_inception_v3={},
    segments=(1, 2, 4, 8, 16),
    activations=("relu", "elu"),
    comparators={  # with the weight decays of their own papers
        "VGG-16": {
            "model.name": "vgg16",
            "optimizer.weight_decay": "5.0e-4",
            "optimizer.learning_rate": "0.01",  # without BatchNorm it diverges at 0.045
        },
        "ResNet-152": {"model.name": "resnet152", "optimizer.weight_decay": "1.0e-4"},
    },
    learning_rates=("0.015", "0.135"),
    other_weight_decay="4.0e-5",
    cell_seconds=3 * 24 * 3600,
    inception_factor=28 / 31,
    hardware="60 K80 GPUs (the paper's)",
    seeds=(1, 1),
    data="ImageNet (ILSVRC-2012)",
    num_classes=1000,
    decides=(
        "This is the paper's data set and recipe. The paper reports one run of each network; "
        "differences below the spread over seeds decide nothing."
    ),
    deviations=(
        "what the paper does not state (global batch, number of epochs, Polyak decay, "
        "augmentation) is set by the recipe, see its head",
    ),
    multi_label_elsewhere="ImageNet has one label to an image; the scale jft has several",
    gpus=60,
)

_MONTH_SECONDS = 30 * 24 * 3600  # "over one month" an experiment, section 4.4


def _jft(name: str, recipe: str) -> Variant:
    title = MULTI_LABEL_NETWORKS.get(name, "VGG-like stack of separable convolutions")
    return Variant(name, title, recipe, {}, _MONTH_SECONDS)


_JFT = MultiLabelTask(
    data="JFT",
    k=100,
    variants=(
        _jft("multi-label-inception-v3", "jft-inception-v3"),
        _jft("multi-label-xception", "jft-xception"),
        _jft("multi-label-inception-v3-fc", "jft-inception-v3-fc"),
        _jft("multi-label-xception-fc", "jft-xception-fc"),
        _jft(VGG_STYLE, "jft-separable-vgg"),
    ),
    deviations=(
        "what the paper does not state (global batch, number of steps, Polyak decay, the stack of "
        "section 4.6 but for its depth multiplier) is set by the recipes, see their heads",
        "FastEval14k's class weights are not public: without --map.class_weights they are equal",
    ),
)

JFT = Scale(
    name="jft",
    xception="jft-xception",
    inception_v3="jft-inception-v3",
    continuum="jft-xception",
    shared={},
    of_xception={},
    of_continuum={},
    of_inception_v3={},
    segments=(),
    activations=(),
    comparators={},
    learning_rates=(),
    other_weight_decay="4.0e-5",
    cell_seconds=_MONTH_SECONDS,
    inception_factor=1,
    hardware="60 K80 GPUs (the paper's)",
    seeds=(1, 1),
    data="JFT",
    num_classes=17_000,
    decides=(
        "This is the paper's recipe; its data set is not public, and any images with several "
        "labels can take its place (--data-root). The paper reports one run of each network, "
        "ended before it had converged; differences below the spread over seeds decide nothing."
    ),
    deviations=(),
    multi_label=_JFT,
    single_label_elsewhere="it belongs to ImageNet: run it at the scale imagenet",
    gpus=60,
)
