"""
The root's end of a session with one worker; blocks, with a deadline on every wait.

A distributed-llama worker ends its process when a session breaks off before its weights are acknowledged, so this one
knows how far it is, and `finish` goes through to the end with empty messages from wherever that is.

    connected → greeted → ready → net → node → running → ended
"""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from synaptic.dllama import granting, wire
from synaptic.dllama.graph import FloatType, NetConfig, NodeConfig, Pipe, Size3D, WeightMessage
from synaptic.dllama.holding import Question, progress
from synaptic.dllama.link import Link, LostError, SilentError
from synaptic.dllama.session import ACK, HELD
from synaptic.dllama.wire import Peer

T = TypeVar("T")
WITHIN = 3.0  # seconds for a connection
PATIENCE = 30.0  # seconds in which at least one byte must move
_AGAIN = 1.0  # seconds in which a worker listens again after a session; 8 ms is the most that was seen
_FAREWELL = 3.0  # seconds for the end of a session
EMPTY_NET = NetConfig(1, 1, (Pipe("P", Size3D(FloatType.F32, 1, 1, 1)),))
EMPTY_NODE = NodeConfig(0, (), ())


class LostWorkerError(LostError):
    """`worker` did not do its part. Says why, in words that follow its address. `is_silent`: it hangs, for all we know."""

    def __init__(self, worker: Peer, why: str, *, is_silent: bool = False) -> None:
        super().__init__(f"{address(worker)} {why}")
        self.worker, self.why, self.is_silent = worker, why, is_silent


class CalledOffError(Exception):
    """Whoever started the work wants it no more."""


class CallOff:
    """Set from any thread; asked between the steps of setting up sessions and loading."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def check(self) -> None:
        if self._event.is_set():
            raise CalledOffError


class Stage(enum.IntEnum):
    CONNECTED = 0
    GREETED = 1
    READY = 2
    NET = 3
    NODE = 4
    RUNNING = 5
    ENDED = 6


class ToWorker(Link):
    """
    A link that knows its worker and how far their session is. Counts bytes.

    Not for several threads at a time. Every method may raise LostWorkerError, but `finish`.
    """

    def __init__(self, worker: Peer, sock: socket.socket, patience: float) -> None:
        super().__init__(sock, address(worker))
        self.worker, self.patience, self.stage = worker, patience, Stage.CONNECTED
        self.sent = self.received = 0  # bytes
        self.waited = 0.0  # seconds, as its root counts them
        self.holds = False  # the model itself: it is sent no weights
        self._has_failed = False

    def greet(self, hello: wire.Hello) -> None:
        self._step(Stage.GREETED, wire.encode_hello(hello))

    def ready(self) -> None:
        """When every worker has been greeted; from here on they connect to each other."""
        self.stage = Stage.READY
        self.write(ACK, self.patience)

    def net(self, net: NetConfig) -> None:
        self._step(Stage.NET, ACK + wire.encode_net(net))

    def net_and_room(self, net: NetConfig) -> int | None:
        """Bytes that it grants a session; None: the original does not say."""
        self.stage = Stage.NET
        self.write(ACK + wire.encode_net(granting.asking(net)), self.patience)
        return self._answer(granting.answer())

    def node(self, node: NodeConfig) -> None:
        self._step(Stage.NODE, ACK + wire.encode_node(node))

    def configure(self, net: NetConfig, node: NodeConfig, question: Question) -> None:
        """`holds` tells the answer."""
        self.net(question.within(net))
        self.holds = self._step(Stage.NODE, ACK + wire.encode_node(node), HELD)

    def weight(self, message: WeightMessage) -> None:
        self.write(wire.encode_weight_head(message), self.patience)
        self.write(memoryview(message.data).cast("B"), self.patience)

    def weights(self, messages: Iterable[WeightMessage]) -> None:
        for message in messages:
            self.weight(message)
        self.no_more_weights()

    def no_more_weights(self) -> None:
        self.end_weights()
        while self.weights_read() is not None:
            pass

    def end_weights(self) -> None:
        self.stage = Stage.RUNNING
        self.write(wire.NO_MORE_WEIGHTS, self.patience)

    def weights_read(self) -> int | None:
        """Waits for the next word of one that holds the model: bytes that it has read. None: all are where they belong."""
        return self._answer(progress())

    def park(self) -> None:
        """
        Go on with empty messages until the weights are acknowledged, if it is not that far: from here on it survives
        whatever happens to us, and no one else can connect to it.
        """
        if self.stage is Stage.CONNECTED:
            self.greet(wire.Hello(1, 0))
        if self.stage is Stage.GREETED:
            self.ready()
        if self.stage is Stage.READY:
            self.net(EMPTY_NET)
        if self.stage is Stage.NET:
            self.node(EMPTY_NODE)
        if self.stage is Stage.NODE:
            self.no_more_weights()

    def stop(self) -> None:
        if self.stage is not Stage.RUNNING:
            return
        self.stage = Stage.ENDED
        self.write(wire.encode_control(wire.Control(0, 0)), self.patience)

    def finish(self) -> None:
        """End the session so that the worker lives on, wherever it is. A few seconds at most for one that is silent."""
        self.patience = min(self.patience, _FAREWELL)
        if not self._has_failed:
            with contextlib.suppress(LostError, wire.WireError):
                if not self.holds:  # ours bears it, and would read its file first
                    self.park()
                self.stop()
        self._hang_up()

    def write_some(self, data: memoryview) -> memoryview:
        rest = self._naming(lambda: super(ToWorker, self).write_some(data))
        self.sent += len(data) - len(rest)
        return rest

    def read_some(self, view: memoryview) -> int:
        count = self._naming(lambda: super(ToWorker, self).read_some(view))
        self.received += count
        return count

    def write(self, data: bytes | memoryview, patience: float) -> None:
        self._naming(lambda: super(ToWorker, self).write(data, patience))

    def read_into(self, view: memoryview, patience: float) -> None:
        self._naming(lambda: super(ToWorker, self).read_into(view, patience))

    def _step(self, stage: Stage, request: bytes, instead: bytes = ACK) -> bool:
        self.stage = stage
        self.write(request, self.patience)
        return self._answer(wire.ack(instead))

    def _answer(self, reading: wire.Reading[T]) -> T:
        try:
            return self._naming(lambda: self.read(reading, self.patience))
        except wire.WireError as error:
            self._has_failed = True
            said = str(error) if isinstance(error, wire.RefusedError) else f"is no dllama worker: it {error}"
            raise LostWorkerError(self.worker, said) from error

    def _naming(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except LostWorkerError:
            raise
        except LostError as error:
            self._has_failed = True
            why, is_silent = str(error).removeprefix(self.name).strip(), isinstance(error, SilentError)
            raise LostWorkerError(self.worker, why, is_silent=is_silent) from error

    def _hang_up(self) -> None:
        """Takes what still comes, for a worker that writes to a closed socket ends."""
        until = time.monotonic() + self.patience
        away = memoryview(bytearray(65536))
        with contextlib.suppress(LostError, OSError):
            self._socket.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self.await_word(left)
                self.read_some(away)
        self.close()


def address(worker: Peer) -> str:
    return f"[{worker.host}]:{worker.port}" if ":" in worker.host else f"{worker.host}:{worker.port}"


def connect(worker: Peer, patience: float = PATIENCE, within: float = WITHIN) -> ToWorker:
    """Tries again for a moment, for a worker that comes from another session. Never without `finish` afterwards."""
    until = time.monotonic() + min(within, _AGAIN)
    while True:
        try:
            return ToWorker(worker, socket.create_connection((worker.host, worker.port), timeout=within), patience)
        except ConnectionRefusedError as error:
            if time.monotonic() > until:
                raise LostWorkerError(worker, "refuses connections: it is not running, or in use by another root") from error
            time.sleep(0.005)
        except TimeoutError as error:
            raise LostWorkerError(worker, f"took no connection in {within:g} s") from error
        except (OSError, UnicodeError) as error:
            raise LostWorkerError(worker, f"cannot be reached: {str(getattr(error, 'strerror', None) or error).lower()}") from error


def prove(worker: Peer, patience: float = PATIENCE) -> None:
    """One complete, empty session. LostWorkerError when it is no free worker."""
    link = connect(worker, patience)
    try:
        link.greet(wire.Hello(1, 0))
    finally:
        link.finish()
