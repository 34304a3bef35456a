"""8-bit weights and activations by post-training quantisation with calibration images (nncf)."""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

from xception.data.preprocessing import Preprocessing
from xception.export.calibration import Calibration
from xception.export.extras import require_library
from xception.export.processor import cpu_flags, products_saturate


def weight_bits(flags: frozenset[str] | None = None) -> int:
    """8, or 7 where the processor's sums of 8-bit products can overflow.

    Args:
        flags: The processor's; by default this one's.

    Example:
        >>> weight_bits(frozenset({"avx2"})), weight_bits(frozenset({"avx2", "avx_vnni"}))
        (7, 8)
    """
    return 7 if products_saturate(cpu_flags() if flags is None else flags) else 8


def quantise(model: Any, calibration: Calibration, preprocessing: Preprocessing, bits: int) -> Any:
    """Quantises an ``openvino.Model``.

    Args:
        model: float32; it is not used afterwards.
        calibration: Images like those that will be classified.
        preprocessing: Scales them as everywhere.
        bits: Of the weights: 8, or 7 for processors without VNNI, see ``weight_bits``.

    Raises:
        InputError: nncf is not installed.
    """
    with _quietly():
        nncf = require_library("nncf")
        guard = nncf.OverflowFix.ENABLE if bits == 7 else nncf.OverflowFix.DISABLE
        return nncf.quantize(
            model,
            nncf.Dataset(
                calibration.crops, lambda crop: preprocessing.normalize(crop[None]).numpy()
            ),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration.crops),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=guard),
        )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences nncf, which logs every step and draws progress bars."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # its own logger does not exist before it is imported
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
