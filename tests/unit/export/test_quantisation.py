import pytest
import torch
from torch import nn

from xception.data.preprocessing import Preprocessing
from xception.errors import InputError, RunFailedError
from xception.export import agreement, build, quantisation
from xception.export.calibration import Calibration, read_calibration
from xception.export.conversion import OPENVINO_FILE, example_images, to_onnx, to_openvino
from xception.export.folding import fold_batch_norms
from xception.export.load import load_engine
from xception.export.processor import cpu_flags, products_saturate
from xception.export.quantisation import kept_in_float, quantise_onnx

pytest.importorskip("openvino")
pytest.importorskip("nncf")

INT8_TOLERANCE = agreement.INT8_TOLERANCE


def skip_where_sums_overflow(bits):
    if bits == 8 and products_saturate(cpu_flags()):
        pytest.skip("8-bit weights are wrong on a processor without VNNI, which gets 7 bits")


@pytest.fixture(scope="module")
def loaded(tiny_xception):
    return tiny_xception()


@pytest.fixture(scope="module")
def calibration(loaded, photographs):
    return read_calibration([photographs], loaded.preprocessing, "photographs")


@pytest.fixture(scope="module")
def by_bits(loaded, calibration):
    """Quantised for a processor with VNNI, and for one without."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        for bits, flags in ((8, {"avx512_vnni"}), (7, {"avx2"})):
            patch.setattr(quantisation, "cpu_flags", lambda flags=flags: frozenset(flags))
            foreign = bits == 8 and products_saturate(cpu_flags())  # made for another processor
            patch.setattr(agreement, "INT8_TOLERANCE", float("inf") if foreign else INT8_TOLERANCE)
            made[bits] = load_engine(loaded, "openvino-int8", calibration=calibration)
    return made


def stored_weights(engine):
    """The largest 8-bit weight of every layer in the stored file: (depthwise, others)."""
    import openvino

    model = openvino.Core().read_model(f"{engine.facts.record['entry']}/{OPENVINO_FILE}")
    largest = ([], [])
    for operation in model.get_ops():
        if (
            operation.get_type_name() != "Constant"
            or operation.get_element_type() != openvino.Type.i8
        ):
            continue
        values = operation.get_data().astype(int)
        # of depthwise convolutions (C, 1, 1, 3, 3); of others (C', C, k, k) or (C', C)
        largest[values.ndim != 5].append(int(abs(values).max()))
    return largest


def test_every_layer_has_8_bit_weights_but_depthwise_ones_without_vnni(loaded, by_bits):
    convs = [m for m in loaded.model.modules() if isinstance(m, torch.nn.Conv2d)]
    depthwise = sum(conv.groups > 1 for conv in convs)
    others = len(convs) - depthwise + 1  # and the logistic regression
    assert tuple(map(len, stored_weights(by_bits[8]))) == (depthwise, others)
    assert tuple(map(len, stored_weights(by_bits[7]))) == (0, others)


def test_without_vnni_every_weight_of_a_sum_over_channels_fits_7_bits(by_bits):
    assert max(stored_weights(by_bits[7])[1]) <= 64  # see test_processor: 2 · 255 · 64 fits 16 bits
    assert min(map(max, stored_weights(by_bits[8]))) > 100


def test_kept_in_float_are_sums_without_pooling_and_small_depthwise_convolutions(tiny_xception):
    loaded = tiny_xception(middle_flow_repeats=2)
    model = to_openvino(fold_batch_norms(loaded.model), example_images(loaded.preprocessing.size))
    sums = {f"__module.middle_flow.{number}/aten::add/Add" for number in range(2)}
    assert set(kept_in_float(model, 8)) == sums  # the others add the output of a max pooling
    depthwise = {
        operation.get_friendly_name()
        for operation in model.get_ops()
        if operation.get_type_name() == "GroupConvolution"
    }
    assert set(kept_in_float(model, 7)) == sums | depthwise


@pytest.mark.parametrize(("side", "kept"), [(19, True), (37, False)])
def test_a_depthwise_convolution_of_large_maps_is_rounded(side, kept):
    """728 maps of 19x19 float32 are 1.05 MB, of 37x37 4 MB; the limit is 1.5 MiB."""
    convolution = torch.nn.Conv2d(728, 728, 3, padding=1, groups=728).eval()
    model = to_openvino(convolution, torch.zeros(2, 728, side, side))
    assert bool(kept_in_float(model, 7)) is kept
    assert not kept_in_float(model, 8)


def test_the_two_are_stored_apart(by_bits):
    eight, seven = by_bits[8].facts.record, by_bits[7].facts.record
    assert (eight["identity"]["bits"], seven["identity"]["bits"]) == (8, 7)
    assert eight["entry"] != seven["entry"]


@pytest.mark.parametrize("bits", [8, 7])
def test_int8_agrees_roughly_for_any_number_of_images(loaded, calibration, by_bits, bits):
    skip_where_sums_overflow(bits)
    images = loaded.preprocessing.normalize(calibration.crops)
    with torch.no_grad():
        expected = loaded.model(images)
    for part in (slice(0, 1), slice(1, 4), slice(4, 12)):
        found = by_bits[bits](images[part])
        assert found.shape == expected[part].shape
        # A step of 8 bits is 1/255 of a range; over 15 layers a few hundredths of the logits'
        # spread. Images not normalised for the calibration give 0.5 and more.
        error = (found - expected[part]).abs().max() / (expected.max() - expected.min())
        assert error < 0.1
        # What is recorded is the largest of all images, which other batch sizes change by rounding.
        assert error <= by_bits[bits].facts.record["calibration_difference"] + 0.02
    assert not torch.allclose(by_bits[bits](images), expected, atol=1e-5)  # it is quantised


def test_the_calibration_decides_the_ranges(loaded, calibration, by_bits):
    """Ranges learned from black images cut the activations of others."""
    skip_where_sums_overflow(8)
    from xception.export.calibration import make_calibration

    black = make_calibration([torch.zeros(3, 48, 48, dtype=torch.uint8)] * 10, "black")
    made = load_engine(loaded, "openvino-int8", calibration=black)
    assert made.facts.record["entry"] != by_bits[8].facts.record["entry"]
    images = loaded.preprocessing.normalize(calibration.crops)
    with torch.no_grad():
        expected = loaded.model(images)
    error = (made(images) - expected).abs().mean()
    assert error > 2 * (by_bits[8](images) - expected).abs().mean()


def test_a_stored_model_is_taken_without_calibration_images(loaded, by_bits, monkeypatch):
    monkeypatch.setattr(quantisation, "cpu_flags", lambda: frozenset({"avx2"}))
    monkeypatch.setattr(build, "quantise_openvino", None)
    made = load_engine(loaded, "openvino-int8", calibration=lambda: 1 / 0)
    assert made.facts.record["entry"] == by_bits[7].facts.record["entry"]
    assert made.facts.note.startswith("8-bit, calibrated with 12 images of photographs; its loss")


def test_without_calibration_images_it_asks_for_them(tiny_xception):
    loaded = tiny_xception(classes=4)
    with pytest.raises(InputError, match="give --calibration, a folder or a recipe"):
        load_engine(loaded, "openvino-int8")


def scaled(factor):
    """In the place of a quantisation: multiplies the logits of the float32 model."""

    def multiply(model, *_):
        from openvino import opset13 as operations

        result = model.get_results()[0]
        logits = result.input(0).get_source_output()
        product = operations.multiply(logits, operations.constant(factor, logits.element_type))
        result.input(0).replace_source_output(product.output(0))
        return model

    return multiply


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (-1.0, r"computes something else .* of photographs \(difference \d\.\d\d of the logits' "),
        (float("inf"), "gives logits that are not finite numbers .* of photographs;"),
    ],
)
def test_a_broken_quantisation_is_refused_and_not_kept(
    tiny_xception, calibration, monkeypatch, factor, told
):
    loaded = tiny_xception(classes=4)
    monkeypatch.setattr(build, "quantise_openvino", scaled(factor))
    with pytest.raises(RunFailedError, match=told) as caught:
        load_engine(loaded, "openvino-int8", calibration=calibration)
    assert str(caught.value).endswith("give other --calibration images or take another --engine")
    with pytest.raises(InputError, match="give --calibration"):  # nothing is stored
        load_engine(loaded, "openvino-int8")


def test_a_loss_within_the_tolerance_is_recorded(tiny_xception, calibration, monkeypatch):
    """Logits of 0.8 of their size differ by 0.2 of the largest."""
    loaded = tiny_xception(classes=4)
    with torch.no_grad():
        logits = loaded.model(loaded.preprocessing.normalize(calibration.crops))
    monkeypatch.setattr(build, "quantise_openvino", scaled(0.8))
    made = load_engine(loaded, "openvino-int8", calibration=calibration)
    expected = float(0.2 * logits.abs().max() / (logits.max() - logits.min()))
    assert 0.05 < expected < 0.5
    # sums in another order, see FLOAT32_TOLERANCE
    assert made.facts.record["calibration_difference"] == pytest.approx(expected, rel=1e-3)


def test_onnx_keeps_probabilities_in_float32():
    """In 8 bits they come in steps of 1/256, and the smaller ones are all alike."""
    for library in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(library)
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)]
    network = nn.Sequential(*layers, nn.Softmax(1)).eval()
    crops = torch.randint(0, 256, (10, 3, 16, 16), dtype=torch.uint8)
    plain = to_onnx(network, torch.zeros(2, 3, 16, 16), "probabilities")
    scale = Preprocessing(16).normalize
    graph = quantise_onnx(plain, Calibration(crops, "noise"), scale, 7).graph
    (softmax,) = [node for node in graph.node if node.op_type == "Softmax"]
    kinds = {node.op_type for node in graph.node}
    assert "QuantizeLinear" in kinds
    assert graph.output[0].name == softmax.output[0]  # nothing rounds it
