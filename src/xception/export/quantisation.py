"""8-bit weights and activations by post-training quantisation with calibration images.

For OpenVINO by nncf; for ONNX by ONNX Runtime's own tool, because nncf gives the activations of
depthwise convolutions a zero point for each channel, which ONNX Runtime does not run.
"""

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from xception.export.calibration import Calibration
from xception.export.conversion import INPUT
from xception.export.extras import require_library
from xception.export.processor import cpu_flags, products_saturate

Scale = Callable[[Tensor], Tensor]
"""From crops (N, 3, S, S) uint8 to what the model takes."""


def weight_bits(flags: frozenset[str] | None = None) -> int:
    """8, or 7 where the processor's sums of 8-bit products can overflow.

    Args:
        flags: The processor's; by default this one's.

    Example:
        >>> weight_bits(frozenset({"avx2"})), weight_bits(frozenset({"avx2", "avx_vnni"}))
        (7, 8)
    """
    return 7 if products_saturate(cpu_flags() if flags is None else flags) else 8


def quantise_openvino(model: Any, calibration: Calibration, scale: Scale, bits: int) -> Any:
    """Quantises an ``openvino.Model``.

    Args:
        model: float32; it is not used afterwards.
        calibration: Images like those that will be classified.
        scale: Makes a crop the model's input.
        bits: Of the weights: 8, or 7 for processors without VNNI, see ``weight_bits``.

    Raises:
        InputError: nncf is not installed.
    """
    with _quietly():
        nncf = require_library("nncf")
        guard = nncf.OverflowFix.ENABLE if bits == 7 else nncf.OverflowFix.DISABLE
        return nncf.quantize(
            model,
            nncf.Dataset(calibration.crops, lambda crop: scale(crop[None]).numpy()),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration.crops),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=guard),
        )


def quantise_onnx(model: Any, calibration: Calibration, scale: Scale, bits: int) -> Any:
    """Quantises an ``onnx.ModelProto``: pairs of QuantizeLinear and DequantizeLinear.

    Weights are signed with a scale for each channel, activations unsigned (the faster of the two on
    x86) between the smallest and the largest value that occurs.

    Args:
        model: float32; it is not used afterwards.
        calibration: Images like those that will be classified.
        scale: Makes a crop the model's input.
        bits: Of the weights: 8, or 7 for processors without VNNI, see ``weight_bits``.

    Raises:
        InputError: onnxruntime is not installed.
    """
    require_library("onnxruntime")
    onnx = require_library("onnx")
    with _quietly(), tempfile.TemporaryDirectory() as folder:
        from onnxruntime import quantization as tool
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(tool.CalibrationDataReader):
            def __init__(self) -> None:
                self.crops = iter(calibration.crops)

            def get_next(self) -> dict[str, Any] | None:
                crop = next(self.crops, None)
                return None if crop is None else {INPUT: scale(crop[None]).numpy()}

        plain, prepared, quantised = (
            Path(folder, name) for name in ("plain.onnx", "prepared.onnx", "quantised.onnx")
        )
        onnx.save(model, plain)
        quant_pre_process(plain, prepared)
        # A probability in steps of 1/256 says nothing of the small ones: softmax stays float32.
        nodes = onnx.load(prepared).graph.node
        softmax = [node.name for node in nodes if node.op_type == "Softmax"]
        tool.quantize_static(
            prepared,
            quantised,
            Reader(),
            quant_format=tool.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=bits == 7,
            nodes_to_exclude=softmax,
            activation_type=tool.QuantType.QUInt8,
            weight_type=tool.QuantType.QInt8,
        )
        return onnx.load(quantised)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences the tools, which log every step and draw progress bars."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # their own loggers do not exist before they are imported
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
