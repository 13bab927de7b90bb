"""Blocks of 32 values: rounded as the original does, and packed for the kernels without a loss."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from synaptic.dllama import matmul_kernels, quants
from synaptic.dllama.graph import GraphError
from synaptic.dllama.quants import Q40, Q80, PackedQ40, dequantize_q40, dequantize_q80, quantize_q40, quantize_q80

PACKS = pytest.mark.parametrize("pack", [quants.pack, matmul_kernels.pack], ids=["numpy", "compiled"])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def half(value: float) -> float:
    return struct.unpack("<e", struct.pack("<e", value))[0]


def test_blocks_are_as_long_as_in_files() -> None:
    assert (Q40.itemsize, Q80.itemsize) == (18, 34)


def test_q80_rounds_ties_to_even_with_the_unrounded_scale() -> None:
    values = np.zeros(32, np.float32)
    values[:5] = [127, 0.5, 1.5, -2.5, -126.5]
    block = quantize_q80(values)[0]
    assert block["d"] == 1
    assert block["qs"][:5].tolist() == [127, 0, 2, -2, -126]


def test_q80_against_a_plain_loop() -> None:
    values = random(64)
    for block, part in zip(quantize_q80(values), values.reshape(-1, 32), strict=True):
        d = np.float32(max(abs(part))) / np.float32(127)
        assert block["d"] == half(float(d))
        for q, value in zip(block["qs"], part, strict=True):
            assert q == round(float(np.float32(value * (np.float32(1) / d))))  # Python rounds ties to even


def test_zeros_stay_zeros() -> None:
    assert not dequantize_q80(quantize_q80(np.zeros(32, np.float32))).any()
    assert not dequantize_q40(quantize_q40(np.zeros(32, np.float32))).any()


@pytest.mark.parametrize(
    ("high", "low", "scale"), [(1, -2, 0.25), (2, -1, -0.25), (2, -2, -0.25)], ids=["the minimum", "the maximum", "both"]
)
def test_q40_gives_its_lowest_code_to_the_largest(high: float, low: float, scale: float) -> None:
    values = np.zeros(32, np.float32)
    values[3], values[20] = high, low
    block = quantize_q40(values)[0]
    assert block["d"] == scale
    largest = block["qs"][3] & 15 if scale < 0 else block["qs"][20 - 16] >> 4
    assert largest == 0


def test_q40_against_a_plain_loop() -> None:
    values = random(32)
    block = quantize_q40(values)[0]
    largest = max(values, key=abs)
    inverse = np.float32(1) / (largest / np.float32(-8))
    for j in range(16):
        low, high = (math.floor(min(max(np.float32(values[k] * inverse) + np.float32(8.5), 0), 15)) for k in (j, j + 16))
        assert block["qs"][j] == low | high << 4


def test_values_come_back_about_right() -> None:
    values = random(4, 96)
    assert abs(dequantize_q80(quantize_q80(values)) - values).max() < 0.02
    assert abs(dequantize_q40(quantize_q40(values)) - values).max() < 0.5


@PACKS
@pytest.mark.parametrize("rows", [1, 32, 70])
def test_what_is_packed_can_be_unpacked(rows: int, pack: quants.Pack) -> None:
    blocks = quantize_q40(random(rows, 96))
    packed = PackedQ40.empty(rows, 96)
    packed.store(0, blocks.tobytes(), pack)
    for row in range(rows):
        values, scales = packed.unpacked(row // 32)
        assert (values[row % 32] * scales[row % 32][:, None]).reshape(-1).tolist() == dequantize_q40(blocks[row]).tolist()


@PACKS
def test_it_can_come_in_groups_of_rows(pack: quants.Pack) -> None:
    data = quantize_q40(random(70, 64)).tobytes()
    whole, pieces = PackedQ40.empty(70, 64), PackedQ40.empty(70, 64)
    whole.store(0, data, pack)
    cut = 64 * whole.row_bytes
    pieces.store(cut, memoryview(data)[cut:], pack)
    pieces.store(0, memoryview(bytearray(data[:cut])), pack)
    assert (pieces.weights == whole.weights).all()
    assert (pieces.scales == whole.scales).all()


@pytest.mark.parametrize(("offset", "count"), [(0, 31), (1, 32), (32, 3), (64, 7), (-32, 32)], ids=str)
def test_pieces_that_do_not_fit_are_refused(offset: int, count: int) -> None:
    packed = PackedQ40.empty(70, 64)
    with pytest.raises(GraphError):
        packed.store(offset * packed.row_bytes, bytes(count * packed.row_bytes))


def test_a_packed_matrix_takes_little_more_room() -> None:
    packed = PackedQ40.empty(3584, 1280)
    assert packed.weights.nbytes + packed.scales.nbytes <= 1.2 * packed.n_bytes
