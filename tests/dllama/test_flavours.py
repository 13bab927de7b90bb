"""The products of nibbles and bytes are written for several processors: each gives the same numbers."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FLAVOURS = {
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+sse4.2,+popcnt"},
    "portable": {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
}
SAYS = "from synaptic.dllama.simd_q40 import FLAVOUR; print(FLAVOUR)"


def has_avx2() -> bool:
    try:
        return "avx2" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


@pytest.mark.timeout(180)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_flavour_passes_the_tests_of_products(flavour: str, tmp_path: Path) -> None:
    if flavour == "avx2" and not has_avx2():
        pytest.skip(f"this {platform.machine()} has no AVX2")
    environment = os.environ | FLAVOURS[flavour] | {"NUMBA_CACHE_DIR": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", SAYS], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.strip() == flavour
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", str(HERE / "test_kernels.py"), "-k", "matmul or loops"]
    done = subprocess.run(words, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
