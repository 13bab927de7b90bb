"""
Whatever comes over the wire or lies in a file is understood or refused with a sentence: 100,000 cases of chance, always
the same ones. Nothing else is raised, nothing hangs, and nothing is allocated by a size that somebody claims.

FUZZ_CASES: how many, if not so many.
"""

from __future__ import annotations

import contextlib
import os
import random
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dllama.synthetic import KINDS, write_model
from dllama.workers import RECORDED

from synaptic.dllama import graph, holding, wire
from synaptic.dllama.builder import build
from synaptic.dllama.chat import Message, StopDetector, UnknownTemplateError, prompt
from synaptic.dllama.header import NotAModelError, read_header
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.session import ACK, BUSY, HELD, LOADED
from synaptic.dllama.tokenizer import Decoder, EncodingError, Tokenizer
from synaptic.dllama.tokenizer_file import NotATokenizerError, Vocabulary, packed, parse

CASES = int(os.environ.get("FUZZ_CASES", "100000"))
ODD = (0, 1, 2, 7, 31, 32, 33, 255, 256, 4096, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
LONG = 300  # characters of a sentence
MOST_ASKED = 8192  # bytes that a reader waits for at once
Reader = Callable[[], wire.Reading[Any]]


class EndedError(Exception):
    """No more bytes."""


def spoilt(chance: random.Random, honest: bytes, *, words: bool) -> bytes:
    """Up to four bytes or numbers of it others, and now and then its end missing, or noise behind it."""
    raw = bytearray(honest)
    for _ in range(chance.randint(0, 4)):
        if words and len(raw) >= 4:
            struct.pack_into("<I", raw, 4 * chance.randrange(len(raw) // 4), chance.choice((*ODD, chance.getrandbits(32))))
        elif raw:
            raw[chance.randrange(len(raw))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.getrandbits(8)))
    end = chance.choice((len(raw), len(raw), chance.randint(0, len(raw))))
    return bytes(raw[:end]) + chance.randbytes(chance.choice((0, 0, 8)))


def understood(reader: Reader, raw: bytes) -> Any:
    """WireError, EndedError."""
    place = 0

    def take(count: int) -> bytes:
        nonlocal place
        assert 0 <= count <= MOST_ASKED
        place += count
        if place > len(raw):
            raise EndedError
        return raw[place - count : place]

    return wire.read(reader(), take)


def small_node() -> graph.NodeConfig:
    """Of a real root: its first buffers and operations of every kind."""
    rest = after_net()
    node = understood(wire.node_config, rest)
    ops = {op.code: op for segment in node.segments for op in segment.ops}
    segment = graph.Segment(tuple(ops.values()), (graph.Sync(2, graph.SyncType.WITH_ROOT),))
    return graph.NodeConfig(1, node.buffers[:3], (segment,))


def after_net() -> bytes:
    start = len(wire.encode_hello(wire.Hello(1, 0))) + 2 * len(ACK)
    net = wire.encode_net(understood(wire.net_config, RECORDED[start:]))
    return RECORDED[start + len(net) + len(ACK) :]


def spoken(folder: Path) -> Iterator[tuple[Reader, Callable[[Any], bytes], list[bytes]]]:
    """How each message is read, written, and what real ones look like."""
    header = read_header(write_model(folder / "m.m"))
    net, _ = build(header, 2, context=64)
    hellos = [wire.Hello(1, 0), wire.Hello(3, 1, (wire.Peer("127.0.6.1", 33465), wire.Peer("worker-é.lan", 1)))]
    nets = [net, holding.Question("0" * 16, "a" * 32).within(net)]
    heads = [wire.WeightHead("block_matmul_w1", 7, 1 << 40, 5), wire.WeightHead("", 0, 0, 0)]
    controls = [wire.Control(0, 32), wire.Control(9, 0)]
    yield wire.hello, wire.encode_hello, [wire.encode_hello(each) for each in hellos]
    yield wire.net_config, wire.encode_net, [wire.encode_net(each) for each in nets]
    yield wire.node_config, wire.encode_node, [wire.encode_node(small_node())]
    yield (
        wire.weight_head,
        lambda head: wire.encode_weight_head(head) if head else wire.NO_MORE_WEIGHTS,
        [wire.encode_weight_head(each) for each in heads],
    )
    yield wire.control, wire.encode_control, [wire.encode_control(each) for each in controls]
    yield wire.ack, lambda _: ACK, [ACK, BUSY, HELD]
    yield holding.progress, lambda count: ACK if count is None else holding.loaded(count), [ACK, LOADED, holding.loaded(1 << 40)]


def test_messages(tmp_path: Path) -> None:
    chance, refused, ended, read, longest = random.Random(1), 0, 0, 0, 0
    messages = list(spoken(tmp_path))
    weights = [8, 6, 6, 6, 4, 4, 4]
    for reader, encode, honest in chance.choices(messages, weights, k=CASES // 2):
        try:
            value = understood(reader, spoilt(chance, chance.choice(honest), words=chance.random() < 0.5))
        except wire.WireError as error:
            refused, longest = refused + 1, max(longest, len(str(error)))
        except EndedError:
            ended += 1
        else:
            again = understood(reader, encode(value))
            assert again == value or "nan" in repr(value) or "\N{REPLACEMENT CHARACTER}" in repr(value)
            read += 1
            if reader is wire.net_config:
                holding.asked(value)
    assert min(refused, ended, read) > CASES // 50
    assert longest < LONG


def test_tokenizers_and_what_they_make_of_texts() -> None:
    tokens = (*(bytes([byte]) for byte in range(32, 96)), b"AB", b"ABC", b"\xe2\x82", b"<s>", b"</s>")
    honest = packed(Vocabulary(tokens, (0.0,) * len(tokens), len(tokens) - 2, (len(tokens) - 1,), True, b"<|im_start|>"))
    chance, read, refused = random.Random(2), 0, 0
    for number in range(CASES // 4):
        try:
            vocabulary = parse(spoilt(chance, honest, words=chance.random() < 0.3))
        except NotATokenizerError:
            refused += 1
            continue
        read += 1
        if number % 25 == 0:
            use(vocabulary, chance)
    assert min(read, refused) > CASES // 50


def use(vocabulary: Vocabulary, chance: random.Random) -> None:
    with contextlib.suppress(EncodingError):
        Tokenizer(vocabulary).encode(chance.choice((b"AB ABC <s>", chance.randbytes(20), "é€".encode())))
    with contextlib.suppress(UnknownTemplateError):
        prompt(vocabulary, [Message("user", "x")])
    decoder, detector = Decoder(vocabulary), StopDetector(vocabulary, [b"AB"])
    for token in chance.choices(range(len(vocabulary.tokens)), k=10):
        detector.append(token, decoder.piece(token))


@pytest.mark.parametrize("kind", KINDS)
def test_models(kind: str, tmp_path: Path) -> None:
    """Those that pass for one have all their tensors within the file; some are made as long as they claim."""
    whole = write_model(tmp_path / "honest.m", kind, layers=2).read_bytes()
    head = struct.unpack_from("<i", whole, 4)[0]
    path, chance, opened, refused, longest = tmp_path / "m.m", random.Random(3), 0, 0, 0
    path.write_bytes(whole)
    with path.open("r+b", buffering=0) as file:
        for number in range(CASES // 4 // len(KINDS)):
            raw = bytearray(whole[:head])
            for _ in range(chance.choice((0, 1, 1, 2, 3))):
                struct.pack_into("<i", raw, 4 * chance.randrange(head // 4), chance.choice((-1, *ODD[:-2], chance.getrandbits(31))))
            file.seek(0)
            file.write(raw)
            try:
                fit(path, len(whole))
                model = ModelFile(path)
                for tensor in model.tensors if number % 10 == 0 else ():
                    assert 0 < tensor.offset < tensor.offset + tensor.bytes <= model.header.file_bytes
                model.close()
                opened += 1
            except NotAModelError as error:
                refused, longest = refused + 1, max(longest, len(str(error)))
    assert min(opened, refused) > CASES // 4 // len(KINDS) // 20
    assert longest < LONG


def fit(path: Path, usual: int) -> None:
    """As long as it claims, where that can be: the file has holes."""
    os.truncate(path, usual)
    try:
        read_header(path)
    except NotAModelError as error:
        words = str(error).split()
        missing = int(words[words.index("bytes") - 1]) if words[:2] == ["ends", "early,"] else 0
        if 0 < missing < 1 << 25:
            os.truncate(path, usual + missing)


def test_no_size_that_is_claimed_is_allocated(tmp_path: Path) -> None:
    chance, messages = random.Random(4), list(spoken(tmp_path))
    tracemalloc.start()
    try:
        for _ in range(CASES // 100):
            reader, _, honest = chance.choice(messages)
            with contextlib.suppress(wire.WireError, EndedError):
                understood(reader, spoilt(chance, chance.choice(honest), words=True))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
