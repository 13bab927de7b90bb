"""Bytes that nearly are what a reader expects: a true example, changed here and there."""

from __future__ import annotations

from hypothesis import strategies as st

NASTY = (
    b"\x00" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\x80",
    b'"',
    b"{",
    b"[" * 50,
    b"1e999",
    b"NaN",
    b"null",
    b"\n\n",
    b"\r",
    b"\x1b[2J",
    b"-1",
)


@st.composite
def mutated(draw: st.DrawFn, example: bytes) -> bytes:
    """Up to six changes: bytes replaced, put in, taken out, said twice, or the rest left out."""
    raw = bytearray(example)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(raw)))
        match draw(st.sampled_from(("replace", "insert", "delete", "repeat", "cut"))):
            case "replace":
                new = draw(_piece)
                raw[at : at + len(new)] = new
            case "insert":
                raw[at:at] = draw(_piece)
            case "delete":
                del raw[at : at + draw(st.integers(1, 64))]
            case "repeat":
                raw[at:at] = raw[at : at + draw(st.integers(1, 64))]
            case "cut":
                del raw[at:]
    return bytes(raw)


def foreign(*examples: bytes) -> st.SearchStrategy[bytes]:
    """Mostly one of the examples, changed; sometimes anything at all."""
    return st.one_of(*(mutated(example) for example in examples), st.binary(max_size=2000))


_piece = st.one_of(st.sampled_from(NASTY), st.binary(min_size=1, max_size=8))
