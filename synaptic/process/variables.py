"""What a child may inherit from our environment: what it needs to run, and nothing that reconfigures or betrays us."""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = {"PATH", "HOME", "USER", "LANG", "LANGUAGE", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LLAMA_CACHE"}
# not LLAMA_ARG_*: it would change the engine's options behind our back
_FAMILIES = ("LC_", "XDG_", "GGML_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_", "HSA_", "ZE_", "ONEAPI_", "SYCL_", "VK_", "OMP_")


def inherited(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name in _NAMES or name.startswith(_FAMILIES)}
