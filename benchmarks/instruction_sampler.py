"""Which vector instructions a process truly runs: samples by a timer, in native and made code."""

import ctypes
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sampled:
    """Numbers of samples.

    Attributes:
        total: Ticks of the timer.
        vex: At an instruction of AVX, AVX2, FMA or AVX-VNNI.
        evex: At one of AVX-512, of any width, AVX-512's VNNI and bf16 included.
        vnni: At one of AVX-VNNI.
    """

    total: int
    vex: int
    evex: int
    vnni: int

    def __str__(self) -> str:
        return (
            f"of {self.total:,} samples {self.vex:,} at AVX/AVX2 instructions, {self.evex:,} at "
            f"AVX-512's, {self.vnni:,} at AVX-VNNI's"
        )


def build_sampler(folder: Path) -> Path:
    """Compiles it."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder.resolve() / "instruction_sampler.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run(
        ["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(library), str(source)], check=True
    )
    return library


def sample_instructions(library: Path, run: Callable[[], object], samples: int = 500) -> Sampled:
    """Samples while ``run`` is repeated. Once in a process."""
    sampler = ctypes.CDLL(str(library))
    sampler.samples.restype = ctypes.c_long
    sampler.sample.argtypes = [ctypes.c_long]
    if sampler.sample(1000):
        raise OSError("the timer can't be set")
    while sampler.samples(0) < samples:
        run()
    sampler.sample(0)
    return Sampled(*(sampler.samples(kind) for kind in range(4)))
