"""
A .t tokenizer out of the tokenizer in a GGUF file.

distributed-llama joins, of all adjacent pairs that make a token, the one whose token has the best score. So with
SentencePiece (`llama`) its scores serve as they are, and with byte-level BPE (`gpt2`) the rank of the best merge that
makes a token. A token that no merge makes gets a score at which it is never made.

The format has no place for the regular expression that cuts a text into words before the merges. Two of its rules are
in the scores: punctuation keeps together (it is joined first), and the last of several spaces belongs to the word that
follows (spaces are joined last). What is lost: numbers in groups of three digits, and rarer cuts; the space that some
models have before a text; with SentencePiece, characters of three bytes and more are spelt in bytes.

The token that begins a text must part the tokens for text from the special ones. Where it does not, tokens are
renumbered, and the rows of the weights with them.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Sequence
from itertools import count

from synaptic.dllama.convert.source import CannotConvertError, Source
from synaptic.dllama.tokenizer_file import LONGEST_TOKEN, Vocabulary

NEVER = -(2.0**40)  # below the score from which on two tokens are joined
FIRST = 1e9  # above every score: joined before all others
SHIFT = 1e6  # more than any vocabulary has merges; sums with them are exact in 32 bits
_PUNCTUATION = re.compile(rb" ?[^\sA-Za-z0-9\x80-\xff]+[\r\n]*")
_KEY = "tokenizer.ggml.{}"
_SPACE = "\u2581"
_BEGINNING = ("llama3", "llama-v3", "llama-bpe", "pixtral", "tekken")
_ENDS = ("<|eot_id|>", "<|im_end|>", "<|end_of_text|>", "<|endoftext|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "</s>")


class Kind(enum.IntEnum):
    """llama_token_type of llama.h"""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclasses.dataclass(frozen=True)
class Converted:
    """`order`: which token of the source each new one is; None: the same. `out_of_reach`: characters that no text finds."""

    vocabulary: Vocabulary
    order: tuple[int, ...] | None
    out_of_reach: int = 0


def vocabulary_of(source: Source) -> Converted:
    """CannotConvertError."""
    names, kinds = _tokens(source), _kinds(source)
    if len(kinds) != len(names) or not names:
        raise CannotConvertError(f"has {len(names)} tokens and the kinds of {len(kinds)}")
    special = [kind not in (Kind.NORMAL, Kind.BYTE) for kind in kinds]
    begin = _begin(source, special)
    model = source.values.get(_KEY.format("model"))
    if model == "gpt2":
        texts, scores = _byte_level(source, names, special)
    elif model == "llama":
        texts, scores = _sentencepiece(source, names, kinds)
    else:
        raise CannotConvertError(f"has a tokenizer of the kind {model}; those of llama and gpt2 can be converted")
    if (longest := max(map(len, texts))) > LONGEST_TOKEN:
        raise CannotConvertError(f"has a token of {longest} bytes")
    order = _order(special, begin)
    place = {old: new for new, old in enumerate(order)}
    vocabulary = Vocabulary(
        tokens=tuple(texts[old] or b"<empty %d>" % old for old in order),
        scores=tuple(scores[old] for old in order),
        begin=place[begin],
        ends=tuple(place[end] for end in _ends(source, names, special)),
        add_begin=bool(source.values.get(_KEY.format("add_bos_token"), _adds_begin(source))),
        template=source.texts.get("tokenizer.chat_template", b""),
    )
    lost = sum(kind == Kind.NORMAL and len(name) == 1 and len(text) > 2 for name, kind, text in zip(names, kinds, texts, strict=True))
    is_same = order == list(range(len(order)))
    return Converted(vocabulary, None if is_same else tuple(order), lost if model == "llama" else 0)


def _adds_begin(source: Source) -> bool:
    """What llama.cpp does when the file does not say."""
    return source.values.get(_KEY.format("model")) == "llama" or source.values.get(_KEY.format("pre")) in _BEGINNING


def _tokens(source: Source) -> list[str]:
    return [_text(each) for each in source.arrays.get(_KEY.format("tokens"), ())]


def _text(value: object) -> str:
    if not isinstance(value, bytes):
        raise CannotConvertError("has tokens that are no texts")
    return value.decode("utf-8", "surrogateescape")


def _kinds(source: Source) -> list[int]:
    stored = source.arrays.get(_KEY.format("token_type"))
    return [int(kind) for kind in stored] if stored else [Kind.NORMAL] * len(_tokens(source))


def _begin(source: Source, special: list[bool]) -> int:
    """The token before a text; without one, the first that is special."""
    stored = source.values.get(_KEY.format("bos_token_id"))
    if isinstance(stored, int) and 0 <= stored < len(special):
        special[stored] = True
        return stored
    if True not in special:
        raise CannotConvertError("has no special tokens")
    return special.index(True)


def _order(special: Sequence[bool], begin: int) -> list[int]:
    """Tokens for text, the one that begins a text, other special ones."""
    return sorted(range(len(special)), key=lambda token: (special[token], special[token] and token != begin))


def _ends(source: Source, names: Sequence[str], special: Sequence[bool]) -> list[int]:
    """That of a turn first: templates write the first one."""
    stored = [source.values.get(_KEY.format(f"{name}_token_id")) for name in ("eot", "eos", "eom")]
    known = [end for end in stored if isinstance(end, int) and 0 <= end < len(names)]
    by_name = {name: token for token, name in enumerate(names) if special[token]}
    known += [by_name[name] for name in _ENDS if name in by_name]
    if not known:
        raise CannotConvertError("does not say which token ends a text")
    return list(dict.fromkeys(known))


def _byte_level(source: Source, names: Sequence[str], special: Sequence[bool]) -> tuple[list[bytes], list[float]]:
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(source.arrays.get(_KEY.format("merges"), ())):
        one, _, other = _text(merge).partition(" ")
        ranks.setdefault(one + other, rank)
    if not ranks:
        raise CannotConvertError("has no merges of its tokens")
    byte_of = _bytes_of_characters()
    texts = [_literal(name) if special[token] else _spelt(name, byte_of) for token, name in enumerate(names)]
    return texts, [_shift(text) - ranks[name] if name in ranks else NEVER for name, text in zip(names, texts, strict=True)]


def _shift(text: bytes) -> float:
    if text.isspace():
        return -SHIFT
    return SHIFT if _PUNCTUATION.fullmatch(text) else 0.0


def _spelt(name: str, byte_of: dict[str, int]) -> bytes:
    try:
        return bytes(byte_of[character] for character in name)
    except KeyError:
        return _literal(name)


def _sentencepiece(source: Source, names: Sequence[str], kinds: Sequence[int]) -> tuple[list[bytes], list[float]]:
    stored = source.arrays.get(_KEY.format("scores"), ())
    if len(stored) != len(names):
        raise CannotConvertError(f"has {len(names)} tokens and the scores of {len(stored)}")
    scores = [float(score) for score in stored]
    pieces = {name.replace(_SPACE, " ") for name, kind in zip(names, kinds, strict=True) if kind == Kind.NORMAL}
    texts = []
    for token, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        byte = _byte(name) if kind == Kind.BYTE else None
        if byte is not None and byte.decode("latin-1") in pieces and byte < b"\x80":
            byte, scores[token] = None, NEVER  # the piece is meant; two equal texts would be one too many
        texts.append(byte or _literal(name.replace(_SPACE, " ")))
        if kind == Kind.NORMAL and len(texts[-1]) == 2 and len(name) == 1:
            scores[token] = FIRST  # a text begins as characters, not as bytes
    return texts, scores


def _byte(name: str) -> bytes | None:
    """<0x0A> → a newline"""
    try:
        return bytes.fromhex(name.removeprefix("<0x").removesuffix(">"))
    except ValueError:
        return None


def _literal(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _bytes_of_characters() -> dict[str, int]:
    """GPT-2 writes bytes that are no visible character as those from U+0100 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = count(256)
    return {chr(byte if byte in visible else next(others)): byte for byte in range(256)}
