"""The sizes at which the paper's experiments can be run, and what each departs from."""

from dataclasses import dataclass

from xception.errors import InputError, nearest


@dataclass(frozen=True)
class Scale:
    """One size of the experiments.

    Attributes:
        name: On the command line.
        xception: The recipe of Xception.
        inception_v3: The recipe of Inception V3.
        continuum: The recipe of the points between regular and depthwise convolution.
        shared: Keys that every cell sets on top of its recipe.
        of_xception: Keys that every cell of an Xception sets, too.
        of_continuum: Keys that every cell of the continuum sets, too.
        of_inception_v3: Keys that the cell of Inception V3 sets.
        segments: Points of the continuum between regular and depthwise convolution.
        activations: Intermediate activations that the continuum is crossed with.
        comparators: Table 1's other networks: title to the keys that make them of Xception's
            recipe; empty where they are too large.
        learning_rates: Other rates for the network without residual connections.
        other_weight_decay: That of the Inception V3 recipe, tried on Xception.
        cell_seconds: Of one cell of Xception.
        inception_factor: Time of a cell of Inception V3 beside it.
        hardware: On which ``cell_seconds`` was taken.
        seeds: Seeds by default where a claim is decided, and elsewhere.
        data: The data set's name in the report.
        num_classes: Its classes.
        decides: How much this scale can decide, for the report's first page.
        deviations: How its runs differ from the paper's.
    """

    name: str
    xception: str
    inception_v3: str
    continuum: str
    shared: dict[str, str]
    of_xception: dict[str, str]
    of_continuum: dict[str, str]
    of_inception_v3: dict[str, str]
    segments: tuple[int, ...]
    activations: tuple[str, ...]
    comparators: dict[str, dict[str, str]]
    learning_rates: tuple[str, ...]
    other_weight_decay: str
    cell_seconds: float
    inception_factor: float
    hardware: str
    seeds: tuple[int, int]
    data: str
    num_classes: int
    decides: str
    deviations: tuple[str, ...]


_SMALL = (
    "the schedule is a cosine over few epochs instead of 0.94 every 2 epochs; batch, learning "
    "rate, weight decay and Polyak decay suit the short run (Inception V3 keeps four times "
    "Xception's weight decay, as in section 4.3)",
    "training images are moved by some pixels instead of cropped and distorted as for ImageNet",
    "both networks are narrow, with the stem's strides taken out for 32x32 images",
)

DIGITS = Scale(
    name="digits",
    xception="digits-xception",
    inception_v3="digits-inception-v3",
    continuum="digits-xception",
    shared={"trainer.max_epochs": "15"},
    of_xception={},
    of_continuum={},
    of_inception_v3={},
    segments=(1, 2, 4, 8, 16),
    activations=("relu", "elu"),
    comparators={},
    learning_rates=("0.03", "0.3"),
    other_weight_decay="0.002",
    cell_seconds=25,
    inception_factor=1.6,
    hardware="two CPU cores",
    seeds=(1, 1),
    data="scikit-learn's handwritten digits",
    num_classes=10,
    decides=(
        "These are 1,437 training and 360 held-out scans of handwritten digits: one image is 0.28 "
        "percentage points, every reasonable network errs on a handful of them, and with one seed "
        "nothing can be decided at all. This scale shows that every experiment runs from end to "
        "end. It says next to nothing about the paper's claims, whatever the sign of a difference."
    ),
    deviations=("handwritten digits instead of ImageNet", *_SMALL),
)

CIFAR10 = Scale(
    name="cifar10",
    xception="cifar10-xception",
    inception_v3="cifar10-inception-v3",
    continuum="cifar10-continuum",
    shared={
        "trainer.max_epochs": "3",
        "schedule.warmup_epochs": "0.5",
        "polyak.decay": "0.99",  # 0.999 would average over the whole of so short a run
        "training.batch_norm_momentum": "0.1",  # at 0.01 the statistics lag behind the weights
        "data.cutout": "0",
    },
    of_xception={  # 214,242 parameters
        "model.widths": "null",
        "model.width": "0.135",
        "optimizer.weight_decay": "1.0e-4",
    },
    of_continuum={"model.width": "0.135", "optimizer.weight_decay": "1.0e-4"},
    of_inception_v3={  # 214,602 parameters
        "model.width": "0.094",
        "optimizer.weight_decay": "4.0e-4",
    },
    segments=(1, 2, 4, 8, 16),
    activations=("relu", "elu"),
    comparators={},
    learning_rates=("0.03", "0.3"),
    other_weight_decay="4.0e-4",
    cell_seconds=130,
    inception_factor=1.6,
    hardware="one CPU core with bf16 instructions (--trainer.precision bf16-mixed)",
    seeds=(6, 3),
    data="CIFAR-10",
    num_classes=10,
    decides=(
        "These are 50,000 training and 10,000 held-out images of 32x32 pixels in ten classes, "
        "networks of 0.2 million parameters, three epochs: a race of small networks over a short "
        "distance. With six seeds differences of about a percentage point can be told from chance. "
        "What holds here need not hold for 1,000 classes at 299x299 pixels, nor at the end of a "
        "long training (--trainer.max_epochs 28 asks that, on a GPU)."
    ),
    deviations=("CIFAR-10 instead of ImageNet", *_SMALL),
)

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
)

SCALES = {scale.name: scale for scale in (DIGITS, CIFAR10, IMAGENET)}


def find_scale(name: str) -> Scale:
    """The scale of that name.

    Raises:
        InputError: There is none.
    """
    if name == "jft":
        raise InputError(
            "the scale jft needs the multi-label recipes, which this version lacks; the scales are "
            f"{', '.join(SCALES)}"
        )
    if name not in SCALES:
        raise InputError(
            f"there is no scale '{name}'{nearest(name, list(SCALES))}; the scales are "
            f"{', '.join(SCALES)}"
        )
    return SCALES[name]
