"""
Whatever a peer, a file or a model says: it is read, or refused in one sentence of ours.

Never another exception, never memory by a size that is only claimed, never a control character in the sentence.
`FUZZ=100000 ./scripts/test tests/fuzz` runs as many examples for each reader; what it finds becomes an example here.
"""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz.mutated import foreign
from hypothesis import given, settings

from synaptic.bench.imports.llama_bench import from_llama_bench
from synaptic.cluster import http, offers, protocol
from synaptic.deploy.profile.document import document_of
from synaptic.deploy.profile.read import profile_of
from synaptic.discovery import consul_answers, mdns, neighbours
from synaptic.dllama.tokenizer_file import NotATokenizerError
from synaptic.dllama.tokenizer_file import parse as parse_tokenizer
from synaptic.engines.chunks import Answer, Completion
from synaptic.engines.sse import Events
from synaptic.errors import SynapticError
from synaptic.models.dllama_file import read_dllama
from synaptic.models.gguf import read_content, read_header, read_tensors
from synaptic.models.ollama_manifest import BrokenManifestError, read_manifest
from synaptic.process.coordinator_entry import decoded
from synaptic.settings import Settings
from synaptic.settings.text import BrokenFileError
from synaptic.settings.text import parse as parse_settings
from synaptic.terminal import visible

Read = Callable[[bytes, Path], object]

ROOT = Path(__file__).parents[2]
DATA, CONFIG = ROOT / "tests" / "data", ROOT / "config"
MEMORY = 50 << 20  # bytes that reading may take at its peak
OURS = (SynapticError, BrokenFileError, BrokenManifestError, NotATokenizerError)

CHAT_EVENTS = (
    b': a comment\n\ndata: {"choices":[{"index":0,"delta":{"role":"assistant","content":null}}]}\r\n\r\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null,"logprobs":{"content":[{"id":5,"token":"Hi"}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"timings":{"predicted_per_second":31.5,"prompt_n":4}}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":2}}}\n\n'
    b"data: [DONE]\n\n"
)
COMPLETION_EVENTS = b'data: {"choices":[{"text":"Hi","logprobs":{"content":[{"id":5}]},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
MANIFEST = json.dumps(
    {"schemaVersion": 2, "layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "a" * 64, "size": 7}]}
).encode()
SETTINGS = b"""{"mode": "distributed", "rpc_backends": [{"host": "127.0.0.1", "port": 50052}], "nodes": [{"url": "http://127.0.0.1:11434"}],
"dllama_backends": [{"host": "127.0.0.1", "port": 9999, "gmacs": 3.5}], "context": 4096,
"temperature": 0.5, "models_dirs": ["/m"], "unknown": {"a": [1]}}"""
ENTRY = b"""{"key": "k", "log": "/x.log", "url": "http://127.0.0.1:1",
"owner": {"pid": 1, "started": "1", "executable": "/bin/x"}, "process": null,
"plan": {"workers": ["127.0.0.1:50052"], "tensor_split": [1.0], "context": 4096, "slots": 1, "kv_type": "f16",
"model": {"name": "demo", "path": "/m.gguf", "engines": ["llama.cpp"], "offers": []}}}"""
OLLAMA_BODIES = tuple((DATA / "ollama" / name).read_bytes() for name in ("tags.json", "ps.json", "models.json", "version.json"))
LLAMA_BENCH = json.dumps(
    [
        {
            "build_commit": "abc",
            "model_filename": "/m.gguf",
            "model_type": "llama 8B Q4_0",
            "model_size": 5,
            "model_n_params": 8,
            "n_prompt": 0,
            "n_gen": 128,
            "n_depth": 0,
            "avg_ts": 14.2,
            "stddev_ts": 0.1,
            "samples_ts": [14.1, 14.3],
            "samples_ns": [9, 9],
            "test_time": "2026-01-16T10:00:00Z",
            "backends": "RPC",
            "n_threads": 4,
        }
    ]
).encode()
TABLE = b"IP address       HW type     Flags       HW address            Mask     Device\n10.0.0.1  0x1  0x2  52:54:00:12:34:56  *  eth0\n"


def _handshake(raw: bytes, _: Path) -> None:
    for length, parse in ((28, protocol.parse_hello), (4, protocol.parse_device_count), (16, lambda body: protocol.parse_memory(body, 0))):
        payload = protocol.payload_of(raw, length)
        if payload is not None:
            parse(payload)


def _stream(raw: bytes, _: Path) -> None:
    """In pieces, as a network gives them."""
    for answer in (Answer(), Completion()):
        for start in range(0, len(raw), 7):
            list(answer.take(raw[start : start + 7]))
        answer.last()


def _events(raw: bytes, _: Path) -> None:
    whole, in_pieces = Events(), Events()
    at_once = [*whole.feed(raw), *whole.finish()]
    assert [*(event for byte in raw for event in in_pieces.feed(bytes([byte]))), *in_pieces.finish()] == at_once


def _server(raw: bytes, _: Path) -> None:
    body = http.parsed(raw)
    http.text_of(body, "version")
    answer = http.Answer(200, "llama.cpp", body)
    http.describe(answer)
    offers.of_ollama(body, offers.loaded_at(body), "http://127.0.0.1:1")
    offers.of_openai(body, "vLLM", "http://127.0.0.1:1")
    if http.names_of(body, "data", "id") is not None:
        http.software_of(answer)


def _settings(raw: bytes, folder: Path) -> None:
    parse_settings(raw)
    path = _file(raw, folder, "settings.json")
    Settings.load(path, {})
    assert path.read_bytes() == raw, "reading has written"


def _profile(raw: bytes, _: Path) -> None:
    profile_of(document_of(Path("v1.yaml"), raw.decode(errors="replace")))


def _gguf(raw: bytes, folder: Path) -> None:
    path = _file(raw, folder, "m.gguf")
    read_header(path)
    read_tensors(path)
    read_content(path, {"tokenizer.ggml.tokens", "tokenizer.ggml.scores"})


def _imported(raw: bytes, folder: Path) -> None:
    document = http.parsed(raw)
    if document is not None:
        from_llama_bench(document, folder / "a.json")


def _framed(payload: bytes) -> bytes:
    return struct.pack("<Q", len(payload)) + payload


def _file(raw: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


READERS: dict[str, tuple[Read, tuple[bytes, ...]]] = {
    "the handshake of an rpc-server": (
        _handshake,
        (
            *map(_framed, (bytes([3, 6, 0]) + bytes(25), struct.pack("<I", 2), struct.pack("<QQ", 5, 9))),
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ),
    ),
    "server-sent events": (_events, (CHAT_EVENTS, b"\xef\xbb\xbfdata: a\rdata:b\r\r")),
    "the stream of an answer": (_stream, (CHAT_EVENTS, COMPLETION_EVENTS)),
    "what servers say of themselves": (_server, OLLAMA_BODIES),
    "Consul's answers": (lambda raw, _: consul_answers.parse(raw), ((DATA / "consul" / "passing.json").read_bytes(),)),
    "zeroconf's TXT": (lambda raw, _: list(mdns.pairs(raw)), (b"\x07proto=7\x05be=ok\x00\x04st=\x1b", b"\xff" + b"a" * 20)),
    "the table of neighbours": (lambda raw, _: neighbours.parse(raw.decode(errors="replace")), (TABLE,)),
    "settings": (_settings, (SETTINGS,)),
    "the ledger of coordinators": (lambda raw, folder: decoded(_file(raw, folder, "e.json")), (ENTRY,)),
    "Ollama's manifests": (lambda raw, folder: read_manifest(_file(raw, folder, "latest")), (MANIFEST,)),
    "GGUF": (_gguf, ((CONFIG / "demo" / "demo-q4_0.gguf").read_bytes()[:19_808],)),
    ".m": (lambda raw, folder: read_dllama(_file(raw, folder, "m.m")), ((CONFIG / "demo" / "demo-q40.m").read_bytes()[:400],)),
    ".t": (lambda raw, _: parse_tokenizer(raw), ((CONFIG / "demo" / "demo.t").read_bytes(),)),
    "hardware profiles": (_profile, ((CONFIG / "hardware" / "beefcake" / "v0.1.yaml").read_bytes(),)),
    "llama-bench's results": (_imported, (LLAMA_BENCH,)),
}


@pytest.mark.parametrize("name", READERS)
def test_whatever_it_is_given_it_reads_or_refuses_in_a_sentence(name: str, tmp_path: Path) -> None:
    read, examples = READERS[name]
    for example in examples:
        _read(read, example, tmp_path)  # imports what is imported on demand, before memory is counted

    @settings(settings.get_profile("fuzz"))
    @given(foreign(*examples))
    def fuzzed(raw: bytes) -> None:
        tracemalloc.start()
        try:
            _read(read, raw, tmp_path)
            assert tracemalloc.get_traced_memory()[1] < MEMORY
        finally:
            tracemalloc.stop()

    fuzzed()


def _read(read: Read, raw: bytes, folder: Path) -> None:
    try:
        read(raw, folder)
    except OURS as refused:
        sentence = str(refused)
        assert sentence.strip()
        assert "\n" not in sentence
        assert visible(sentence) == sentence
