"""What `engine install` builds, pinned: the source and the options it is built with."""

from __future__ import annotations

import dataclasses

GIB = 1024**3


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A CMake project inside a source distribution of the Python package index."""

    name: str
    package: str
    version: str
    sha256: str
    archive: str  # the source distribution's file name
    source: str  # the folder in the archive that holds the CMake project
    programs: tuple[str, ...]
    options: tuple[str, ...]
    room: int  # bytes of disk that building needs at most
    commit: str | None = None  # of the engine's own repository, where the distribution says it


# The source distribution of llama-cpp-python carries a full copy of llama.cpp. It is fetched for that copy alone;
# nothing of the Python package is built or installed.
LLAMA_CPP = Recipe(
    name="llama.cpp",
    package="llama-cpp-python",
    version="0.3.36",
    sha256="832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
    archive="llama_cpp_python-0.3.36.tar.gz",
    source="llama_cpp_python-0.3.36/vendor/llama.cpp",
    programs=("llama-server", "ggml-rpc-server", "llama-bench", "llama-quantize"),
    options=(
        "GGML_RPC=ON",
        "GGML_CCACHE=OFF",
        "BUILD_SHARED_LIBS=OFF",
        "LLAMA_BUILD_TESTS=OFF",
        "LLAMA_BUILD_EXAMPLES=OFF",
        "LLAMA_BUILD_APP=OFF",
        "LLAMA_BUILD_UI=OFF",
        "LLAMA_USE_PREBUILT_UI=OFF",  # it would be downloaded
        "LLAMA_OPENSSL=OFF",
        "FETCHCONTENT_FULLY_DISCONNECTED=ON",
    ),
    room=GIB,  # measured: 0.6 GiB, of which the unpacked source and pip's own copies are most
)
