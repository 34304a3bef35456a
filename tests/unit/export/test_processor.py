import pytest

from xception.export.processor import cpu_flags, processor_name, products_saturate
from xception.export.quantisation import weight_bits

X86 = "processor\t: 0\nmodel name\t: Some CPU 9\nflags\t\t: fpu avx2 avx512f{}\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd40\n"


def write(tmp_path, text):
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    return path


def test_cpu_flags_reads_linux_lists(tmp_path):
    assert cpu_flags(write(tmp_path, X86.format(" avx512_vnni"))) == {
        "fpu",
        "avx2",
        "avx512f",
        "avx512_vnni",
    }
    assert cpu_flags(write(tmp_path, ARM)) == {"fp", "asimd", "asimddp"}
    assert cpu_flags(tmp_path / "none") == frozenset()


def test_processor_name_tells_machines_apart(tmp_path):
    assert processor_name(write(tmp_path, X86)) == "Some CPU 9"
    assert processor_name(tmp_path / "none")


@pytest.mark.parametrize(
    "extension", ["avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8", "asimddp"]
)
def test_weights_have_8_bits_where_products_are_added_in_32(extension):
    flags = frozenset({"avx2", extension})
    assert not products_saturate(flags)
    assert weight_bits(flags) == 8


@pytest.mark.parametrize(
    "flags", [set(), {"sse4_1"}, {"avx2"}, {"avx2", "avx512f", "avx512bw"}, {"asimd"}]
)
def test_weights_have_7_bits_where_products_are_added_in_16(flags):
    assert products_saturate(frozenset(flags))
    assert weight_bits(frozenset(flags)) == 7


def test_7_bits_is_what_16_bits_have_room_for():
    """vpmaddubsw adds two products of an unsigned and a signed 8-bit number in signed 16 bits."""
    largest = 2**15 - 1
    assert largest < 2 * 255 * 127
    assert largest >= 2 * 255 * 64
