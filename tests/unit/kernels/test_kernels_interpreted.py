"""Runs the checks of the kernels in Triton's interpreter, on the CPU.

In a process of its own: Triton reads TRITON_INTERPRET when it is imported.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton has no wheels for this platform"
)

CHECKS = sorted((Path(__file__).parent / "checks").glob("check_*.py"))


def run_checks(path: Path, marks: str, **environment: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks]
    command += ["-o", "python_files=check_*.py", "-o", "python_functions=check_*", str(path)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    # 5: nothing with these marks in this file
    assert done.returncode in (0, 5), done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout or done.returncode == 5, done.stdout


@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_kernels_interpreted(path):
    run_checks(path, "not slow and not gpu", TRITON_INTERPRET="1")


@pytest.mark.slow
@pytest.mark.parametrize("path", CHECKS, ids=lambda path: path.stem)
def test_kernels_interpreted_slow(path):
    run_checks(path, "slow and not gpu", TRITON_INTERPRET="1")
