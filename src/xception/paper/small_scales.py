"""The scales that two CPU cores can run: digits and CIFAR-10."""

from xception.paper.scale import MULTI_LABEL_NETWORKS, VGG_STYLE, MultiLabelTask, Scale, Variant

_SMALL = (
    "the schedule is a cosine over few epochs, after a warm-up, instead of 0.94 every 2 epochs; "
    "batch, learning rate, weight decay and Polyak decay suit the short run (Inception V3 keeps "
    "four times Xception's weight decay, as in section 4.3); BatchNorm's momentum is 0.1 instead "
    "of 0.01, so that its statistics keep up with so few steps; dropout is 0.2 instead of 0.5",
    "training images are moved by some pixels instead of cropped and distorted as for ImageNet; "
    "held-out images are taken whole",
    "both networks are narrow, with the stem's strides taken out for 32x32 images; Xception's "
    "middle flow has 2 modules instead of 8",
)

_SCENES_SHARED = {"trainer.max_epochs": "8", "training.batch_norm_momentum": "0.1"}


def _scenes(name: str, network: str, seconds: float, fc_units: str = "") -> Variant:
    """A network on the digit scenes, with its own recipe and the scale's shorter training."""
    title = MULTI_LABEL_NETWORKS.get(name, "VGG-like stack of separable convolutions")
    more = {"model.fc_units": fc_units} if fc_units else {}
    return Variant(name, title, f"digit-scenes-{network}", {**_SCENES_SHARED, **more}, seconds)


_DIGIT_SCENES = MultiLabelTask(
    data="scenes of scikit-learn's handwritten digits",
    k=4,
    variants=(
        _scenes("multi-label-inception-v3", "inception-v3", 43),
        _scenes("multi-label-xception", "xception", 25),
        _scenes("multi-label-inception-v3-fc", "inception-v3", 44, "[512, 512]"),
        _scenes("multi-label-xception-fc", "xception", 26, "[512, 512]"),
        _scenes(VGG_STYLE, "separable-vgg", 29),
    ),
    deviations=(
        "pictures of one to four handwritten digits instead of JFT and FastEval14k; MAP@4 over "
        "ten classes of equal weight instead of class-weighted MAP@100",
        "the fully-connected layers have 512 units each instead of 4,096",
        "SGD with a cosine over few epochs, after a warm-up, instead of RMSprop with exponential "
        "decay; batch, learning rate, weight decay and Polyak decay suit the short run (Inception "
        "V3 keeps four times the others' weight decay, as in section 4.3); BatchNorm's momentum is "
        "0.1 instead of 0.01; dropout of 0.2, where the paper has none on JFT",
        "training images are moved by some pixels instead of cropped, distorted and flipped; "
        "held-out images are taken whole",
        "the networks are narrow, with the stem's strides taken out for 32x32 images; Xception's "
        "middle flow has 2 modules instead of 8",
    ),
)

DIGITS = Scale(
    name="digits",
    xception="digits-xception",
    inception_v3="digits-inception-v3",
    continuum="digits-xception",
    shared={"trainer.max_epochs": "9"},
    of_xception={},
    of_continuum={},
    of_inception_v3={},
    segments=(1, 2, 4, 8, 16),
    activations=("relu", "elu"),
    comparators={},
    learning_rates=("0.03", "0.3"),
    other_weight_decay="0.002",
    cell_seconds=21,
    inception_factor=1.7,
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
    deviations=("handwritten digits instead of ImageNet, which are not flipped", *_SMALL),
    multi_label=_DIGIT_SCENES,
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
        "long training (--trainer.max_epochs 52 asks that, on a GPU)."
    ),
    deviations=("CIFAR-10 instead of ImageNet", *_SMALL, "SGD's momentum is Nesterov's"),
    multi_label_elsewhere="CIFAR-10 has one label to an image; the scales digits and jft have "
    "several",
)
