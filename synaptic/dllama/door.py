"""
The open port of a worker: who connects, who may come in, who is another worker of the session. One thread.

    connects ──▶ caller ──▶ says hello ──▶ guest: its session, when there is none
                   │            └─────────▶ waits a moment for the present one to end, then is told that we are busy
                   ├── says something else, leaves, or stays silent for too long ──▶ let go
                   └── is silent while a session waits for other workers ──▶ may be one: they say nothing

The original takes the first connection for its root and ends when that is none.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from synaptic.dllama import wire
from synaptic.dllama.link import Link, LostError
from synaptic.dllama.session import BUSY

PATIENCE = 10.0  # seconds for a hello
TICK = 0.1  # seconds between looks at the deadlines, while there are any
GRACE = 1.0  # seconds that a root may wait for the last one to leave
STRANGERS = 2.0  # seconds after which another worker may come from an address that is not in the root's list
MOST = 64  # callers at the same time


@dataclasses.dataclass(eq=False)
class Caller:
    """Somebody who has not been let in."""

    sock: socket.socket
    address: str
    reading: wire.Reading[wire.Hello]
    wanted: int
    deadline: float
    received: bytearray = dataclasses.field(default_factory=bytearray)
    has_spoken: bool = False
    hello: wire.Hello | None = None


@dataclasses.dataclass(frozen=True)
class _Claim:
    addresses: tuple[frozenset[str], ...]  # where each should come from
    strangers_after: float
    deadline: float
    leader: Link
    found: concurrent.futures.Future[list[socket.socket]]


class Door:
    """`welcome(link, hello)` starts a session elsewhere and returns at once; `left()` says that it is over."""

    def __init__(self, listener: socket.socket, welcome: Callable[[Link, wire.Hello], None]) -> None:
        self._listener = listener
        self._welcome = welcome
        self._callers: list[Caller] = []
        self._is_serving = self._awaits_workers = self._is_closed = False
        self._claims: list[_Claim] = []
        self._selector = selectors.DefaultSelector()
        self._bell, self.ring = socket.socketpair()  # a byte in `ring` wakes the loop: a signal may send it
        for each in (self._listener, self._bell, self.ring):
            each.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)

    def run(self) -> None:
        """Until `close`."""
        while not self._is_closed:
            for key, _ in self._selector.select(TICK if self._callers or self._claims else None):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._bell:
                    with contextlib.suppress(BlockingIOError):
                        self._bell.recv(4096)
                elif key.data in self._callers:
                    self._hear(key.data)
            self._settle(time.monotonic())
        for claim in self._claims:
            claim.found.set_exception(LostError("this worker ends"))
        for caller in list(self._callers):
            self._dismiss(caller)
        self._selector.close()

    def close(self) -> None:
        """From any thread or signal."""
        self._is_closed = True
        self._wake()

    def left(self) -> None:
        """The session is over. From any thread."""
        self._is_serving = self._awaits_workers = False
        self._wake()

    def claim(self, hosts: Sequence[str], within: float, leader: Link) -> list[socket.socket]:
        """The other workers that have connected, for these hosts, while the leader waits too. From the session's thread. LostError."""
        if not hosts:
            return []
        addresses = tuple(map(_addresses, hosts))
        now = time.monotonic()
        claim = _Claim(addresses, now + STRANGERS, now + within, leader, concurrent.futures.Future())
        self._claims.append(claim)
        self._wake()
        return claim.found.result()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake
            self.ring.send(b"!")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # that was all, or there are too many
            while True:
                sock, address = self._listener.accept()
                sock.setblocking(False)
                reading = wire.hello()
                caller = Caller(sock, str(address[0]), reading, next(reading), time.monotonic() + PATIENCE)
                self._callers.append(caller)
                self._selector.register(sock, selectors.EVENT_READ, caller)
                if len(self._callers) > MOST:
                    self._dismiss(self._callers[0])

    def _hear(self, caller: Caller) -> None:
        try:
            said = caller.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said or caller.hello:  # nobody speaks between its hello and our answer
            self._dismiss(caller)
            return
        caller.has_spoken = True
        caller.received += said
        try:
            self._read_on(caller)
        except wire.WireError:
            self._dismiss(caller)

    def _read_on(self, caller: Caller) -> None:
        try:
            while len(caller.received) >= caller.wanted:
                part = bytes(caller.received[: caller.wanted])
                del caller.received[: caller.wanted]
                caller.wanted = caller.reading.send(part)
        except StopIteration as done:
            if caller.received:
                raise wire.WireError("spoke on after its hello") from None
            caller.hello = done.value
            caller.deadline = time.monotonic() + GRACE

    def _settle(self, now: float) -> None:
        """Whatever has come to its turn or its end."""
        self._claims = [claim for claim in self._claims if not self._answer(claim, now)]
        for caller in list(self._callers):
            if caller.hello and not self._is_serving:
                self._let_in(caller, caller.hello)
            elif caller.deadline <= now and not (self._awaits_workers and not caller.has_spoken):
                if caller.hello:
                    with contextlib.suppress(OSError):
                        caller.sock.send(BUSY)
                self._dismiss(caller)

    def _let_in(self, caller: Caller, hello: wire.Hello) -> None:
        self._forget(caller)
        self._is_serving, self._awaits_workers = True, hello.index > 0
        self._welcome(Link(caller.sock, f"the root {caller.address}"), hello)

    def _answer(self, claim: _Claim, now: float) -> bool:
        silent = [caller for caller in self._callers if not caller.has_spoken]
        are_they = len(silent) == len(claim.addresses) or now >= claim.strangers_after
        chosen = _chosen(claim.addresses, silent, may_be_strangers=are_they)
        if chosen is None and now < claim.deadline and not claim.leader.has_left:
            return False
        self._awaits_workers = False
        if chosen is None:
            missing = f"{len(claim.addresses)} other workers should have connected, and have not"
            why = f"{claim.leader.name} left before all other workers had connected" if claim.leader.has_left else missing
            claim.found.set_exception(LostError(why))
            return True
        for caller in chosen:
            self._forget(caller)
        claim.found.set_result([caller.sock for caller in chosen])
        return True

    def _dismiss(self, caller: Caller) -> None:
        self._forget(caller)
        caller.sock.close()

    def _forget(self, caller: Caller) -> None:
        self._callers.remove(caller)
        self._selector.unregister(caller.sock)


def _chosen(places: Sequence[frozenset[str]], callers: Sequence[Caller], *, may_be_strangers: bool) -> list[Caller] | None:
    """One caller for each place, in this order; those from its own addresses first."""
    remaining, chosen = list(callers), dict[int, Caller]()
    for place, addresses in enumerate(places):
        if found := next((caller for caller in remaining if caller.address in addresses), None):
            chosen[place] = found
            remaining.remove(found)
    if may_be_strangers:
        chosen |= dict(zip((place for place in range(len(places)) if place not in chosen), remaining, strict=False))
    return [chosen[place] for place in range(len(places))] if len(chosen) == len(places) else None


def _addresses(host: str) -> frozenset[str]:
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return frozenset()
