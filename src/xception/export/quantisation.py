"""8-bit weights and activations by post-training quantisation with calibration images.

For OpenVINO by nncf; for ONNX by ONNX Runtime's own tool, because nncf by itself gives the
activations of depthwise convolutions a zero point for each channel, which ONNX Runtime does not
run.
"""

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from xception.export.calibration import Calibration
from xception.export.conversion import INPUT
from xception.export.extras import require_library
from xception.export.processor import cpu_flags, products_saturate

METHOD = 2  # goes up when ``quantise_openvino`` makes something else of the same images
SMALL_MAP = 3 * 2**19  # bytes: float32 maps of one image that stay in a core's cache

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

    Every range holds for a whole map. With weights of 8 bits it is symmetric, with 7 (whose
    processors would have to shift what is signed in the innermost loop) only where nothing is
    negative. Each choice, and what ``kept_in_float`` names, is the faster one by measurement; the
    figures lie in ``benchmarks/results``.

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
        from nncf.quantization.advanced_parameters import QuantizationParameters

        preset = nncf.QuantizationPreset
        return nncf.quantize(
            model,
            nncf.Dataset(calibration.crops, lambda crop: scale(crop[None]).numpy()),
            preset=preset.MIXED if bits == 7 else preset.PERFORMANCE,
            subset_size=len(calibration.crops),
            ignored_scope=nncf.IgnoredScope(names=kept_in_float(model, bits)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE if bits == 7 else nncf.OverflowFix.DISABLE,
                activations_quantization_params=QuantizationParameters(per_channel=False),
            ),
        )


def kept_in_float(model: Any, bits: int) -> list[str]:
    """The operations of an ``openvino.Model`` that 8 bits would make slower.

    - Sums of two maps, as in the middle flow: a convolution adds the other map while it writes its
      own, and to round that map to 8 bits takes a pass over it. Where one of the two comes out of a
      max pooling it is left in 8 bits, for the pooling is faster so.
    - For processors without VNNI, which widen 8-bit numbers before they multiply them one by one:
      depthwise convolutions of maps up to ``SMALL_MAP``.

    Args:
        model: float32.
        bits: Of the weights.
    """
    names = []
    for operation in model.get_ops():
        kind, shape = operation.get_type_name(), operation.output(0).get_partial_shape()
        if kind == "Add" and len(shape) == 4:
            inputs = [operation.input(number) for number in range(2)]
            sources = [given.get_source_output().get_node().get_type_name() for given in inputs]
            alike = all(given.get_partial_shape() == shape for given in inputs)
            if alike and "MaxPool" not in sources:
                names.append(operation.get_friendly_name())
        elif kind == "GroupConvolution" and bits == 7:
            sizes = [shape[axis] for axis in range(1, 4)]
            if all(size.is_static for size in sizes) and (
                4 * math.prod(size.get_length() for size in sizes) <= SMALL_MAP
            ):
                names.append(operation.get_friendly_name())
    return names


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
