"""Who takes part in `engines.py`: timm's network in its runtimes, and the project's engines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE, CLASSES = 299, 1000
PEERS = ("timm: ONNX Runtime", "timm: OpenVINO", "timm: OpenVINO, fixed batch")
OWN_PRECISION = "timm: OpenVINO, fixed batch, own precision"
CONTENDERS = (
    "timm: PyTorch eager",
    *PEERS,
    OWN_PRECISION,
    "PyTorch eager",
    "torch",
    "compile",
    "onnxruntime",
    "openvino",
    "openvino-bf16",
    "openvino-int8",
    "auto",
)
BFLOAT16 = (OWN_PRECISION, "openvino-bf16")
"""They need a processor that multiplies bfloat16: the first would be a second float32 elsewhere."""

FLOAT32_TOLERANCE = 1e-4
TOLERANCES = dict.fromkeys(BFLOAT16, 0.03) | {"openvino-int8": 0.2}
"""Largest difference of a contender's logits to timm's eager ones, over their largest.

bfloat16 rounds to 2**-9 of a number; 40 layers made 0.003 of it. What is not named here computes in
float32."""


def prepare_weights(folder: Path) -> Path:
    """Writes timm's network, its ONNX file and ours with the same weights; returns ours."""
    import timm
    import torch

    from xception.data.preprocessing import Preprocessing
    from xception.weights.files import open_model, save_model

    path = folder / "model.safetensors"
    if path.is_file():
        return path
    torch.manual_seed(0)
    network = timm.create_model("legacy_xception", pretrained=False, num_classes=CLASSES)
    with torch.no_grad():
        for _ in range(20):  # momentum 0.1: the statistics settle, and with them the activations
            network(torch.rand(4, 3, 149, 149) * 2 - 1)
    torch.save(network.state_dict(), folder / "timm.pth")
    torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 3, SIZE, SIZE),),
        folder / "timm.onnx",
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        external_data=False,
        verbose=False,
    )
    save_model(open_model(folder / "timm.pth").model, path, preprocessing=Preprocessing(size=SIZE))
    return path


def timm_network(folder: Path) -> Any:
    """The network of timm as its users get it, in evaluation mode."""
    import timm
    import torch

    network = timm.create_model("legacy_xception", pretrained=False, num_classes=CLASSES)
    network.load_state_dict(torch.load(folder / "timm.pth", weights_only=True))
    return network.eval()


def build_peer(name: str, folder: Path, batch: int, threads: int) -> Callable[[Any], Any]:
    """The model of timm in a runtime, by that runtime's own documentation."""
    import torch

    if name == "timm: PyTorch eager":
        return timm_network(folder)
    if name == "timm: ONNX Runtime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            str(folder / "timm.onnx"), options, providers=["CPUExecutionProvider"]
        )
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    import openvino

    model = openvino.convert_model(
        timm_network(folder),
        example_input=torch.zeros(2, 3, SIZE, SIZE),
        input=[batch if "fixed batch" in name else -1, 3, SIZE, SIZE],
    )
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if name != OWN_PRECISION:  # which is bfloat16 where the CPU has it
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    return lambda images: torch.from_numpy(compiled(images.numpy())[0].copy())


def calibration_noise() -> Any:
    """Images to quantise with where speed alone is measured."""
    import torch

    from xception.export.calibration import make_calibration

    pixels = torch.randint(
        0, 256, (10, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return make_calibration(list(pixels), "noise")


def build_ours(name: str, path: Path, batch: int, threads: int) -> tuple[Callable[[Any], Any], str]:
    """One of the project's engines, and what it says of itself."""
    from xception.export import load_engine
    from xception.weights.files import open_model

    loaded = open_model(path)
    if name == "PyTorch eager":
        return loaded.model, ""
    calibration = calibration_noise() if name == "openvino-int8" else None
    engine = load_engine(loaded, name, batch_size=batch, threads=threads, calibration=calibration)
    return engine, engine.facts.note
