"""One service on one node as the words that start it, the same for systemd, compose and nohup. Values only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from synaptic.deploy.profile.profile import BIN, Node, Profile, is_ip

RESOLVE = f"{BIN}/llama-resolve"
NOTIFY = f"{BIN}/llama-head-notify"
RANK = f"{BIN}/vllm-rank"
ENV = "/usr/bin/env"


@dataclasses.dataclass(frozen=True)
class Service:
    """
    `words`: its command; `ports`: those it listens on; `credentials`: files that it reads by name, which its words mention.
    `memory`: what the plan gives it of its machine's, in bytes; None: not known. `is_keyless`: whoever reaches it owns it.
    """

    name: str
    role: str
    node: Node
    words: tuple[str, ...]
    ports: tuple[int, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    credentials: Mapping[str, str] = dataclasses.field(default_factory=dict)
    memory: int | None = None
    load_seconds: float | None = None
    model: str | None = None
    is_keyless: bool = False
    beside: tuple[str, ...] = ()  # services on the same node that it needs
    is_front: bool = False  # speaks TLS for one of those,
    has_key: bool = False  # which asks for a key
    environment_file: str | None = None  # of root's, with variables that nobody may see
    crew_ports: tuple[str, ...] = ()  # ranges in which its nodes listen for one another, without a key
    notes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def stays(self) -> bool:
        """Whether it runs until it is stopped; the ranks of vLLM behind the first listen at no port that is known."""
        return bool(self.ports) or self.role.startswith("vllm")

    @property
    def bare(self) -> tuple[str, ...]:
        """Its command where no systemd wants to be told how it is."""
        return self.words[self.words.index("--") + 1 :] if self.words[0] in (NOTIFY, RANK) else self.words


def at(profile: Profile, node: Node) -> str:
    """An address; a name as llama-resolve takes it."""
    address = profile.address(node)
    return address if is_ip(address) else f"@{address}@"


def resolved(words: tuple[str, ...]) -> tuple[str, ...]:
    return (RESOLVE, *words) if any(word.count("@") >= 2 for word in words) else words


def cores(node: Node, asked: int | None) -> str:
    """Every one of the node's, which it counts itself where the profile does not know."""
    known = asked or node.kind.cores.value
    return f"{known:.0f}" if known else "@nproc@"
