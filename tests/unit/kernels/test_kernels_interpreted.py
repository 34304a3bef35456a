"""Runs the checks of the kernels in Triton's interpreter, on the CPU.

In a process of its own: Triton reads TRITON_INTERPRET when it is imported.
"""

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton has no wheels for this platform"
)


def release(package: str) -> tuple[int, int]:
    """Major and minor version."""
    major, minor = version(package).split(".")[:2]
    return int(major), int(minor)


CHECKS = Path(__file__).parent / "checks"


broken_interpreter = pytest.mark.skipif(
    importlib.util.find_spec("triton") is not None
    and release("triton") <= (3, 6)
    and release("numpy") >= (2, 4),
    reason="the interpreter of triton 3.6 does not work with numpy 2.4 or newer",
)


def run_checks(marks: str, checks: Path = CHECKS, **environment: str) -> None:
    """Runs the checks in a new process; fails with its output."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks]
    command += ["-o", "python_files=check_*.py", "-o", "python_functions=check_*", str(checks)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    print(done.stdout[-500:])


@broken_interpreter
def test_kernels_interpreted():
    run_checks("not slow", TRITON_INTERPRET="1")


@pytest.mark.slow
@broken_interpreter
def test_kernels_interpreted_slow():
    run_checks("slow", TRITON_INTERPRET="1")


@pytest.mark.gpu
@pytest.mark.parametrize("checks", sorted(CHECKS.glob("check_*.py")), ids=lambda path: path.stem)
def test_kernels_on_a_gpu(checks):
    # The same checks, compiled, and bfloat16 products too.
    run_checks("slow or not slow", checks, TRITON_INTERPRET="0")
