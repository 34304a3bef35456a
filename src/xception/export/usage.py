"""How to use an exported file: a few lines of Python without this package, for its reader to copy.

A test runs them and compares their answers with those of ``xception predict``.
"""

from pathlib import Path

from xception.data.preprocessing import Preprocessing
from xception.export.exported_description import ExportedDescription

_RESAMPLING = {"bilinear": "BILINEAR", "bicubic": "BICUBIC"}


def usage(path: Path, described: ExportedDescription, image: str = "photo.jpg") -> str:
    """The lines of Python that classify one image with an exported file.

    Args:
        path: The file.
        described: What it is.
        image: The image's path in them.
    """
    start, names, call = _RUNTIMES[path.suffix]
    preprocessing = described.preprocessing
    lines = ["import json", "import numpy as np", *start, "from PIL import Image, ImageOps", ""]
    lines += [line.format(path=repr(str(path))) for line in names]
    if described.in_channels == 3:
        lines.append(f'image = ImageOps.exif_transpose(Image.open({image!r})).convert("RGB")')
        lines += _geometry(preprocessing)
        lines += _scaling(preprocessing, described.pixels)
    else:
        shape = ", ".join(map(str, [1, *described.input["shape"][1:]]))
        lines.append(f"images = np.zeros(({shape}), np.float32)  # yours, as in training")
    lines += [line.format(output=described.output) for line in call]
    lines += _answer(described)
    return "\n".join(lines)


_RUNTIMES = {
    ".onnx": (
        ["import onnxruntime"],
        [
            "session = onnxruntime.InferenceSession({path})",
            "told = session.get_modelmeta().custom_metadata_map",
            'names = json.loads(told.get("class_names", "null"))',
        ],
        ['{output} = session.run(None, {{"images": images}})[0][0]'],
    ),
    ".xml": (
        ["import openvino"],
        [
            "model = openvino.Core().read_model({path})",
            'key = ["xception", "class_names"]',
            "told = model.get_rt_info(key).astype(str) if model.has_rt_info(key) else 'null'",
            "names = json.loads(told)",
            'settings = {{"INFERENCE_PRECISION_HINT": "f32"}}  # else bfloat16 where there is some',
            'compiled = openvino.compile_model(model, "CPU", settings)',
        ],
        ["{output} = compiled(images)[0][0]"],
    ),
    ".pt2": (
        ["import torch"],
        [
            'extra = {{"xception.json": ""}}',
            "network = torch.export.load({path}, extra_files=extra).module()",
            'names = json.loads(extra["xception.json"]).get("class_names")',
        ],
        [
            "with torch.no_grad():",
            "    {output} = network(torch.from_numpy(images))[0].numpy()",
        ],
    ),
}


def _geometry(preprocessing: Preprocessing) -> list[str]:
    """Crop and resize as ``Preprocessing`` does, with PIL."""
    size, share = preprocessing.size, preprocessing.crop_fraction
    filtered = f"Image.Resampling.{_RESAMPLING[preprocessing.interpolation]}"
    lines = []
    if preprocessing.mode == "central-crop":
        if share < 1:
            lines += [
                f"left, top = (int((side - side * {share}) / 2) for side in image.size)",
                "image = image.crop((left, top, image.width - left, image.height - top))",
            ]
        lines.append(f"image = image.resize(({size}, {size}), {filtered})")
    elif preprocessing.mode == "squash":
        lines.append(f"image = image.resize(({size}, {size}), {filtered})")
    elif preprocessing.mode == "pad":
        lines += [
            f"scale = {size} / max(image.size)",
            "width, height = (max(1, round(side * scale)) for side in image.size)",
            f"small = image.resize((width, height), {filtered})",
            f'image = Image.new("RGB", ({size}, {size}))',
            f"image.paste(small, (({size} - width) // 2, ({size} - height) // 2))",
        ]
    else:
        short = int(size / share)
        lines += [
            f"width, height = ({short} * side // min(image.size) for side in image.size)",
            f"image = image.resize((width, height), {filtered})",
            f"left, top = round((width - {size}) / 2), round((height - {size}) / 2)",
            f"image = image.crop((left, top, left + {size}, top + {size}))",
        ]
    if not preprocessing.antialias:
        lines[-1] += "  # the model was trained without antialiasing, which PIL can't leave out"
    return lines


def _scaling(preprocessing: Preprocessing, pixels: bool) -> list[str]:
    if pixels:
        return ["images = np.array(image)[None]  # (1, height, width, 3) uint8"]
    mean, std = preprocessing.mean, preprocessing.std
    if set(mean) == set(std) == {0.5}:
        scaled = "np.array(image, np.float32) / 127.5 - 1"
    else:
        scaled = f"(np.array(image, np.float32) / 255 - np.float32({list(mean)}))"
        scaled += f" / np.float32({list(std)})"
    return [
        f"images = {scaled}",
        "images = np.ascontiguousarray(images.transpose(2, 0, 1)[None])  # (1, 3, height, width)",
    ]


def _answer(described: ExportedDescription) -> list[str]:
    if described.output == "features":
        return ["print(features.shape)"]
    lines = []
    if described.model.multi_label:
        lines = ["probabilities = 1 / (1 + np.exp(-logits))  # an image may have several classes"]
    elif described.output == "logits":
        lines = [
            "probabilities = np.exp(logits - logits.max())",
            "probabilities /= probabilities.sum()",
        ]
    return [
        *lines,
        "best = int(probabilities.argmax())",
        "print(names[best] if names else best, probabilities[best])",
    ]
