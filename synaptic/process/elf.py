"""For which architecture a program was built, by the first bytes of its file: e_machine of an ELF header."""

from __future__ import annotations

HEAD = 20  # bytes of a file that tell it
OTHER = "another one"
_MACHINES = {b"\x3e\x00": "x86_64", b"\xb7\x00": "aarch64"}  # as they lie in a little-endian header, which both of them have


def machine_of(head: bytes) -> str | None:
    """As `uname -m` says it; OTHER: an ELF file all the same; None: it is none, such as a script."""
    if head[:4] != b"\x7fELF" or len(head) < HEAD:
        return None
    return _MACHINES.get(head[18:20], OTHER) if head[5] == 1 else OTHER
