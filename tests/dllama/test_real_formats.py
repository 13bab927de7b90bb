"""
The real dllama and llama-server as judges of tokenizer, sampler, chat and conversion.

A puppet (see there) makes dllama tell how it encodes, what it draws and what it shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import gguf
import numpy as np
import psutil
import pytest
from dllama.ggufs import add_weights, corpus, finish, write_gguf
from dllama.llama_servers import serving
from dllama.puppet import followed_by, logits_of, run, said, tokens_told, told_odds, write_puppet

from synaptic.dllama.chat import Message, StopDetector, Style, Template, Verdict, prompt
from synaptic.dllama.convert.convert import convert, prepare
from synaptic.dllama.sampler import Sampler
from synaptic.dllama.tokenizer import Decoder, Tokenizer
from synaptic.dllama.tokenizer_file import Vocabulary, read_vocabulary
from synaptic.models.gguf_convert import convertible

pytestmark = pytest.mark.live
DEMO = Path(__file__).parents[2] / "config" / "demo"
BYTES = tuple(bytes([byte]) for byte in range(256))
HOST = "127.0.11.1"


def plain(tokens: tuple[bytes, ...], begin: int, ends: tuple[int, ...] = ()) -> Vocabulary:
    return Vocabulary(tokens, (0.0,) * len(tokens), begin, ends, False)


def shown(pieces: list[bytes | None]) -> list[bytes]:
    return [b"~" if piece is None else piece for piece in pieces]


def to_dllama(source: Path, kind: str) -> tuple[Path, Path]:
    files = source.with_suffix(".m"), source.with_suffix(".t")
    with convertible(source) as content:
        convert(prepare(content, kind), *files, lambda _: None)
    return files


@pytest.mark.parametrize("seed", range(3))
def test_dllama_encodes_the_same(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    tokens = list(BYTES)
    while len(tokens) < 400:
        text = b"".join(chance.choice([b"a", b"b", b" ", b"<", "é".encode(), *tokens[256:]]) for _ in range(2))
        tokens += [text] if len(text) < 12 and text not in tokens else []
    scores = [chance.choice((0.0, -1.0, 7.5, -1e10, float(-token))) for token in range(400)]
    vocabulary = Vocabulary((*tokens, b"<s>", b"</s>", b"<a", b"<ab>"), (*scores, *(0.0,) * 4), 400, (401,), True)
    files, tokenizer = write_puppet(tmp_path, vocabulary, told_odds(512)), Tokenizer(vocabulary)
    for _ in range(8):
        text = b"".join(chance.choices([b"a", b"b", b" ", b"<", b">", b"s", "é".encode(), b"<s>", b"<ab>"], k=60))
        assert tokens_told(run("perplexity", files, text), 512) == list(tokenizer.encode(text).tokens[1:])


def test_dllama_goes_on_with_what_lies_behind_the_last_token(tmp_path: Path) -> None:
    vocabulary = read_vocabulary(DEMO / "demo.t")
    successor = {token: (token * 7 + 3) % 1000 for token in range(1000)}
    files, tokenizer = write_puppet(tmp_path, vocabulary, followed_by(successor, 1024)), Tokenizer(vocabulary)
    for text in (b"Hello workers", b"workers Hello", b"the the", b"a fast node", b"is it? yes", b"more than one machine."):
        encoding, decoder = tokenizer.encode(text), Decoder(vocabulary)
        assert encoding.stale is not None
        output = run("inference", files, text, "--steps", str(len(encoding.tokens) + 3), "--temperature", "0", "--seed", "1")
        token, pieces = encoding.stale, []
        for _ in range(4):
            token = successor[token]
            pieces.append(decoder.piece(token) if token < 768 else b"<missing %d>" % (token - 768))
        assert said(output) == shown(pieces)


@pytest.mark.parametrize("seed", range(3))
def test_dllama_shows_the_same_pieces(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    broken = (
        b"\xe2",
        b"\x82",
        b"\xac",
        b"x",
        b"\xc3\xa9",
        b"\xf0\x9f",
        b"\xff",
        b"\xf5",
        b"ab\xe2\x82",
        b"\xf7\xbf\xbf\xbf",
        b"\0",
        b"q\0r",
    )
    vocabulary = plain((b"a", *chance.choices(broken, k=999)), 500, tuple(chance.sample(range(501, 1000), 40)))
    tokens = chance.sample(range(1, 1000), 999)
    files = write_puppet(tmp_path, vocabulary, followed_by(dict(zip((0, *tokens), tokens, strict=False)), 1024))
    decoder = Decoder(vocabulary)
    output = run("inference", files, b"a", "--steps", "999", "--temperature", "0", "--seed", "1")
    assert said(output) == shown([decoder.piece(token) for token in tokens])


@pytest.mark.parametrize("setting", [(0.8, 0.9, 1), (1.3, 0.5, 2), (0.7, 1.0, 3), (5.0, 0.99, 2**50), (1.0, 0.0, 0), (0.8, 0.9, -5)])
def test_dllama_draws_the_same_tokens(setting: tuple[float, float, int], tmp_path: Path) -> None:
    classifier = (np.random.default_rng(1).normal(0, 3, (1024, 1024)) / 32).astype(np.float32)
    vocabulary = plain((b"a", *(b"%d," % number for number in range(1, 1024))), 1023)
    temperature, top_p, seed = map(str, setting)
    words = ("--steps", "600", "--temperature", temperature, "--topp", top_p, "--seed", seed)
    output = run("inference", write_puppet(tmp_path, vocabulary, classifier), b"a", *words)
    logits, sampler, token, drawn = logits_of(classifier), Sampler(*setting), 0, []
    for _ in range(600):
        token = sampler.sample(np.ascontiguousarray(logits[:, token]))
        drawn.append(token)
    decoder = Decoder(vocabulary)
    assert said(output) == shown([decoder.piece(token) for token in drawn])


CHAT = (b"<s>", b"</s>", b"<|start_header_id|>", b"<|end_header_id|>", b"<|eot_id|>", "<｜User｜>".encode(), "<｜Assistant｜>".encode())
CHAT += (b"<|im_start|>", b"<|im_end|>")
BITS = (
    b"<",
    b"</",
    b"/s>",
    b"s>",
    b"</s",
    b"ab",
    b"a<",
    b"hello ",
    b"<|",
    b"<|eot",
    b"_id",
    b"|>",
    b">",
    b"x</s>y",
    b"and so on and so on and so on ",
)
TALK = [Message("system", "be brief"), Message("user", "hi there"), Message("assistant", "yes?"), Message("user", "hi again")]


@pytest.mark.parametrize("template", list(Template), ids=lambda template: template.name.lower())
def test_dllama_api_writes_a_talk_and_ends_an_answer_the_same(template: Template, tmp_path: Path) -> None:
    for number, talk in enumerate((TALK, TALK[1:], TALK[1:2])):
        answer = random.Random(f"{template} {number}").choices(BITS, k=60)
        tokens = (*BYTES, b"hi", *CHAT, *answer)  # "hi": an encoding without any merge makes the program read what it never wrote
        chain = [*range(257 + len(CHAT), len(tokens)), 258]
        follows = dict(pairwise(chain)) | dict.fromkeys(range(257 + len(CHAT)), chain[0])
        vocabulary = Vocabulary(tokens, (0.0,) * len(tokens), 257, (258, 261), True, f"x {template.value}".encode())
        files = write_puppet(tmp_path, vocabulary, followed_by(follows, 512))
        vocabulary = read_vocabulary(files[1])
        wanted = prompt(vocabulary, talk, style=Style.COMPATIBLE)
        with api(files) as port:
            document = ask(port, talk)
        assert document["usage"]["prompt_tokens"] == len(Tokenizer(vocabulary).encode(wanted.text).tokens)
        assert document["choices"][0]["message"]["content"].encode() == wanted.shown + spoken(vocabulary, chain)


def spoken(vocabulary: Vocabulary, tokens: list[int]) -> bytes:
    decoder, detector, text = Decoder(vocabulary), StopDetector(vocabulary), b""
    for token in tokens:
        verdict, more = detector.append(token, decoder.piece(token))
        text += more
        if verdict is Verdict.ENDS:
            break
    return text


@contextlib.contextmanager
def api(files: tuple[Path, Path]) -> Iterator[int]:
    if not (program := os.environ.get("DLLAMA_API")):
        pytest.skip("DLLAMA_API names no program: build distributed-llama with `make dllama-api` and set it to the file")
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    command = [program, "--model", str(files[0]), "--tokenizer", str(files[1]), "--buffer-float-type", "f32", "--host", HOST]
    command += ["--port", str(port), "--nthreads", "1", "--net-turbo", "0", "--temperature", "0"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not any(each.laddr.port == port for each in psutil.Process(process.pid).net_connections("tcp")):
            assert process.poll() is None, process.returncode
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
        yield port
    finally:
        process.kill()
        process.wait(10)


def ask(port: int, talk: list[Message]) -> dict[str, dict[str, dict[str, str]]]:
    messages = [{"role": each.role, "content": each.text} for each in talk]
    request = urllib.request.Request(
        f"http://{HOST}:{port}/v1/chat/completions", json.dumps({"messages": messages, "max_tokens": 99}).encode()
    )
    with urllib.request.urlopen(request, timeout=40) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_converted_model_says_what_it_said(architecture: str, tmp_path: Path, llama_server: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf", architecture)
    files = to_dllama(source, "F32")
    vocabulary = read_vocabulary(files[1])
    tokenizer, text = Tokenizer(vocabulary), corpus()[3]
    encoding = tokenizer.encode(text.encode())
    assert encoding.stale == encoding.tokens[-1]  # else dllama would go on with another token
    with serving(llama_server, source) as server:
        assert {each: server.tokens(each) for each in corpus()} == {each: list(tokenizer.encode(each.encode()).tokens) for each in corpus()}
        follows = server.follows(list(encoding.tokens), 12)
    output = run("inference", files, text.encode(), "--steps", str(len(encoding.tokens) + 11), "--temperature", "0", "--seed", "1")
    decoder = Decoder(vocabulary)
    assert said(output) == shown([decoder.piece(token) for token in follows])


def test_a_converted_mixture_of_experts_is_run(tmp_path: Path) -> None:
    files = to_dllama(write_gguf(tmp_path / "m.gguf", "qwen3moe", "Q4_0"), "Q40")
    output = run("inference", files, b"Hello workers", "--steps", "24", "--temperature", "0", "--seed", "1", "--buffer-float-type", "q80")
    assert len(said(output)) > 12


def test_sentencepiece_cuts_the_same(tmp_path: Path, llama_server: Path) -> None:
    """With the special tokens first, as in Llama 2, so that all others are renumbered."""
    source = sentencepiece(tmp_path / "m.gguf")
    vocabulary = read_vocabulary(to_dllama(source, "F32")[1])
    tokenizer, texts = Tokenizer(vocabulary), [text for text in corpus() if "\n" not in text]
    with convertible(source) as content:
        names = [bytes(name) for name in content.arrays["tokenizer.ggml.tokens"] if isinstance(name, bytes)]
    order = [names.index(_name(token)) for token in vocabulary.tokens]
    with serving(llama_server, source) as server:
        for text in texts:
            found = [order[token] for token in tokenizer.encode(text.encode(), start=False).tokens]
            if not any(ord(character) > 0x7FF for character in text):
                assert server.tokens(text) == found


def sentencepiece(path: Path) -> Path:
    demo = read_vocabulary(DEMO / "demo.t")
    merges = [(token.decode(), score) for token, score in zip(demo.tokens[256 : demo.regular], demo.scores[256:], strict=False)]
    letters = [(letter, -9000.0 - ord(letter)) for letter in sorted({*map(chr, range(32, 127)), *"éöüßÜÀприветмПВ"})]
    pieces = [(text.replace(" ", "\u2581"), score) for text, score in [*merges, *letters, ("né", -3.5), ("Gr", -4.5), ("Grö", -5.5)]]
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {"context_length": 512, "embedding_length": 128, "block_count": 2, "feed_forward_length": 192}.items():
        writer.add_uint32(f"llama.{key}", value)
    for key, value in {"head_count": 8, "head_count_kv": 4, "key_length": 32, "value_length": 32}.items():
        writer.add_uint32(f"llama.attention.{key}", value)
    writer.add_uint32("llama.rope.dimension_count", 32)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *(text for text, _ in pieces)])
    writer.add_token_types([2, 3, 3, *[6] * 256, *[1] * len(pieces)])
    writer.add_token_scores([0.0] * 259 + [score for _, score in pieces])
    for add, token in ((writer.add_unk_token_id, 0), (writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2)):
        add(token)
    writer.add_add_space_prefix(False)
    add_weights(writer, "llama", 259 + len(pieces), "F32")
    return finish(writer, path)


def _name(token: bytes) -> bytes:
    """As SentencePiece writes it."""
    if len(token) == 1 and not 32 <= token[0] < 127:
        return b"<0x%02X>" % token[0]
    return token if token.startswith(b"<0x") else token.replace(b" ", "\u2581".encode())
