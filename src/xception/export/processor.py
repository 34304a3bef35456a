"""What a processor can do with short numbers, and its name for the cache."""

import platform
from pathlib import Path

_VNNI = {"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"}
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The instruction set extensions that Linux reports; none where it can't be asked.

    Example:
        >>> cpu_flags(Path("/no/such/file"))
        frozenset()
    """
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def products_saturate(flags: frozenset[str]) -> bool:
    """Whether sums of 8-bit products can overflow their 16 bits on this processor.

    Without VNNI, AVX2 and AVX-512 add two products of 8-bit numbers in 16 bits
    (``vpmaddubsw``), and 2 · 255 · 127 does not fit. The remedy is weights of 7 bits. VNNI adds in
    32 bits; so do ARM's dot products. Where nothing is known the answer is yes. Depthwise
    convolutions, whose sums have nine products, are widened before they are multiplied anywhere.

    Example:
        >>> products_saturate(frozenset({"avx2"})), products_saturate(frozenset({"avx512_vnni"}))
        (True, False)
    """
    return not flags & (_VNNI | {"asimddp"})


def multiplies_bfloat16(flags: frozenset[str]) -> bool:
    """Whether the processor has products of bfloat16 numbers; converting alone gains nothing.

    Example:
        >>> multiplies_bfloat16(frozenset({"avx512_bf16"})), multiplies_bfloat16(frozenset())
        (True, False)
    """
    return bool(flags & _BFLOAT16)


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, for telling one machine's measurement from another's."""
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
