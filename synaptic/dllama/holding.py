"""
Whether a worker has the root's model itself: asked and answered within a session that the original's programs can follow.

    root      NetConfig, whose first pipe is named "POS has NONCE DIGEST"      the original copies names and reads none
    root      NodeConfig          worker   HELD, not ACK: its own file has these bytes, and fills the whole graph
    root      no more weights     worker   LOADED and how many bytes it has read, every second; ACK when that was all

A digest is of the header, the size, and some bytes of the tensors; the nonce decides of which, so every session looks
at others. It tells models apart and finds damage sooner or later. Workers are believed, here as in all they compute.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import secrets
import struct
from typing import TYPE_CHECKING

from synaptic.dllama import wire
from synaptic.dllama.graph import NetConfig
from synaptic.dllama.session import LOADED

if TYPE_CHECKING:
    from synaptic.dllama.model_file import ModelFile

MOST = 512  # places that are looked at: on the slowest disk, a few seconds
BYTES = 4096  # of each
_COUNT = struct.Struct("<Q")
_QUESTION = re.compile(r"POS has ([0-9a-f]{16}) ([0-9a-f]{32})")


@dataclasses.dataclass(frozen=True)
class Question:
    """Do you have the file that has this digest under this nonce?"""

    nonce: str
    digest: str

    def within(self, net: NetConfig) -> NetConfig:
        first = dataclasses.replace(net.pipes[0], name=f"POS has {self.nonce} {self.digest}")
        return dataclasses.replace(net, pipes=(first, *net.pipes[1:]))


def question_of(file: ModelFile) -> Question:
    """Another one each time. Blocks on the disk."""
    nonce = secrets.token_hex(8)
    return Question(nonce, fingerprint(file, nonce))


def asked(net: NetConfig) -> Question | None:
    found = _QUESTION.fullmatch(net.pipes[0].name) if net.pipes else None
    return Question(*found.groups()) if found else None


def is_had(question: Question | None, own: ModelFile | None) -> bool:
    """Blocks on the disk."""
    return question is not None and own is not None and fingerprint(own, question.nonce) == question.digest


def fingerprint(file: ModelFile, nonce: str) -> str:
    """32 hexadecimal digits, the same for the same model, on any machine. Blocks on the disk for some hundred small reads."""
    found = hashlib.blake2b(file.head, digest_size=16)
    found.update(_COUNT.pack(file.header.file_bytes))
    count, tensors = min(len(file.tensors), MOST), file.tensors
    for part in range(count):
        first, last = part * len(tensors) // count, (part + 1) * len(tensors) // count
        tensor = tensors[first + _drawn(nonce, 2 * part, last - first)]
        start = tensor.offset + _drawn(nonce, 2 * part + 1, max(tensor.bytes - BYTES, 0) + 1)
        found.update(file.bytes_at(start, min(BYTES, tensor.bytes)))
    return found.hexdigest()


def loaded(count: int) -> bytes:
    """The worker has read so many bytes."""
    return LOADED + _COUNT.pack(count)


def progress() -> wire.Reading[int | None]:
    """Of a worker that reads its own file, in bytes; None: it has all its weights."""
    if not (yield from wire.ack(LOADED)):
        return None
    return int(_COUNT.unpack((yield _COUNT.size))[0])


def _drawn(nonce: str, number: int, below: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{nonce} {number}".encode(), digest_size=8).digest(), "little") % below
