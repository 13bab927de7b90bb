"""FNV-1a: the published values, and one result whichever way it is computed."""

from __future__ import annotations

import random

import pytest

from synaptic.models.fnv import LANES, OFFSET, advance, is_fast, name

WAYS = [False, pytest.param(True, marks=pytest.mark.skipif(not is_fast(), reason="numba is not installed: the extra `dllama`"))]


def hashes(*texts: bytes, fast: bool) -> list[str]:
    states = [OFFSET] * LANES
    advance([memoryview(bytearray(text)) for text in texts], states, fast=fast)
    return [name(state) for state in states]


@pytest.mark.parametrize("fast", WAYS)
def test_the_published_values(fast: bool) -> None:
    """test_fnv.c of the reference code."""
    found = hashes(b"", b"a", b"foobar", b"chongo was here!\n", fast=fast)
    assert found == ["cbf29ce484222325", "af63dc4c8601ec8c", "85944171f73967e8", "46810940eff5f915"]


@pytest.mark.parametrize("fast", WAYS)
def test_pieces_of_any_length_add_up_to_the_whole(fast: bool) -> None:
    source = random.Random(4)
    texts = [source.randbytes(length) for length in (5000, 0, 777, 4096)]
    states = [OFFSET] * LANES
    at = [0] * LANES
    while any(start < len(text) for start, text in zip(at, texts, strict=True)):
        sizes = [source.randrange(0, 900) for _ in texts]
        advance([memoryview(text)[start : start + size] for text, start, size in zip(texts, at, sizes, strict=True)], states, fast=fast)
        at = [start + size for start, size in zip(at, sizes, strict=True)]
    assert [name(state) for state in states] == hashes(*texts, fast=False)


def test_a_name_has_sixteen_digits() -> None:
    assert name(0x2A) == "000000000000002a"
