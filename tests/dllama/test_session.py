"""The empty root session, byte for byte as a real worker has taken it."""

from __future__ import annotations

from synaptic.dllama.session import ACK, EMPTY_SESSION

PIPE = "00000000 01000000 01000000 01000000 0100000000000000 0400000000000000 0400000000000000 02000000 5000"
SENT = [
    "01000000 00000000",
    "aaaa6701 aaaa6701 01000000 01000000 01000000" + PIPE + "00000000",
    "aaaa6701 00000000 00000000 00000000",
    "00000000",
    "00000000 00000000",
]


def test_it_sends_what_was_recorded():
    assert [step.request for step in EMPTY_SESSION] == [bytes.fromhex(text) for text in SENT]


def test_it_expects_four_acknowledgements_and_the_end():
    assert [step.reply for step in EMPTY_SESSION] == [ACK, ACK, ACK, ACK, b""]
    assert ACK.hex() == "aaaa6701"
