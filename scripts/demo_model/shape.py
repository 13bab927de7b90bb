"""The measures of the model, and its weights by the names llama.cpp gives them."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Weights = dict[str, Array]  # a matrix is (outputs, inputs)


@dataclasses.dataclass(frozen=True)
class Shape:
    vocabulary: int = 768
    width: int = 256
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    head_length: int = 32
    hidden: int = 384
    context: int = 512  # tokens
    rope_base: float = 10000.0
    epsilon: float = 1e-5
