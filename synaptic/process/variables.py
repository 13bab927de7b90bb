"""What a child may inherit from our environment: what it needs to run, and nothing that reconfigures or betrays us."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import synaptic

_NAMES = {"PATH", "HOME", "USER", "LANG", "LANGUAGE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LLAMA_CACHE"}
# not LLAMA_ARG_*: it would change the engine's options behind our back
_FAMILIES = ("LC_", "XDG_", "GGML_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HSA_", "ZE_", "ONEAPI_", "SYCL_", "VK_", "OMP_")

_PACKAGES = Path(synaptic.__file__).parents[1]  # it may be a checkout that is installed nowhere


def inherited(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name in _NAMES or name.startswith(_FAMILIES)}


def inherited_by_python(variables: Mapping[str, str]) -> dict[str, str]:
    """For a program of ours."""
    known = [variables["PYTHONPATH"]] if variables.get("PYTHONPATH") else []
    return inherited(variables) | {"PYTHONPATH": os.pathsep.join((str(_PACKAGES), *known))}
