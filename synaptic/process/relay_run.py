"""The relay at work: one thread for each connection, one for each address on which it listens, and one that watches over it."""

from __future__ import annotations

import dataclasses
import os
import select
import signal
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.process.relay_figures import Counter, Figures
from synaptic.process.relay_log import say
from synaptic.process.relay_trust import Trust, known, serving
from synaptic.process.relay_wire import LEAVE_BY_RESET, FarEndError, Plain, Secure, Stream, attentive, how, pump

MOST = 64  # connections at once
GRACE = 1.0  # seconds in which a coordinator that lost a worker may find out by itself
ENDING = ((0.0, signal.SIGTERM), (2.0, signal.SIGTERM), (2.0, signal.SIGKILL))  # seconds before each, for one that did not
_LOST = 3  # the exit code of a relay that has lost a worker, and said so


@dataclasses.dataclass(frozen=True)
class Orders:
    """`is_local`: beside the coordinator; else beside the worker. `notice` in seconds. `alive`: a pipe that ends with the program."""

    listeners: tuple[socket.socket, ...]
    targets: tuple[Endpoint, ...]
    is_local: bool
    notice: float
    alive: int | None
    figures: Path | None = None
    known: Path | None = None
    certificate: Path | None = None
    clients: Path | None = None


def run(orders: Orders) -> int:
    """Until the program ends, or for ever where there is none. The exit code."""
    if orders.alive is None:
        return _relay(orders)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the program is told too, and still needs us to end well
    program = os.getppid()
    works, held_by_relay = os.pipe()
    relay = os.fork()  # before there are threads
    if relay == 0:
        os._exit(_relay(orders))
    os.close(held_by_relay)
    for listener in orders.listeners:
        listener.close()
    _watch(orders.alive, works, program, relay)
    return 0


def _watch(alive: int, works: int, program: int, relay: int) -> None:
    """The relay shall not outlive the program, nor the program its relay."""
    if alive in select.select((alive, works), (), ())[0]:
        if not select.select((works,), (), (), GRACE)[0]:
            os.kill(relay, signal.SIGKILL)  # frozen
        return
    _, status = os.waitpid(relay, 0)
    if os.waitstatus_to_exitcode(status) != _LOST:
        say(f"the relay to its workers ended ({_ending(status)})")
    for wait, number in ENDING:
        if select.select((alive,), (), (), wait)[0] or os.getppid() != program:
            return
        os.kill(program, number)


def _relay(orders: Orders) -> int:
    try:
        relay = Relay(orders)
    except UsageError as error:
        say(f"the relay to its workers cannot begin: {error}")
        return _LOST
    for number in range(len(orders.listeners)):
        threading.Thread(target=relay.listen, args=(number,), daemon=True).start()
    if orders.alive is None:
        threading.Event().wait()
    else:
        os.read(orders.alive, 1)
    relay.figures.drop()
    return 0  # at once: what is open is left with a RST


class Relay:
    """Raises UsageError for files that do not fit."""

    def __init__(self, orders: Orders) -> None:
        self.figures = Figures(orders.figures, len(orders.targets))
        self._orders = orders
        self._room = threading.Semaphore(MOST)
        self._trust: Mapping[Endpoint, Trust] = known(orders.known, orders.certificate) if orders.is_local else {}
        self._contexts = {target: self._trust[target].context() for target in orders.targets if target in self._trust}
        self._serving: ssl.SSLContext | None = None
        if not orders.is_local and orders.certificate:
            self._serving = serving(orders.certificate, orders.clients)

    def listen(self, number: int) -> None:
        """Take connections to one worker, for ever."""
        listener, meter = self._orders.listeners[number], self.figures.meter(number)
        listener.settimeout(None)
        while True:
            self._room.acquire()
            near, _ = listener.accept()
            threading.Thread(target=self._serve, args=(near, self._orders.targets[number], meter), daemon=True).start()

    def _serve(self, near: socket.socket, worker: Endpoint, meter: Counter) -> None:
        try:
            with self._received(near) as asking:
                self._between(asking, worker, meter)
        except OSError as error:
            say(f"a connection was refused: {how(error)}")
        finally:
            near.close()
            self._room.release()

    def _between(self, asking: socket.socket, worker: Endpoint, meter: Counter) -> None:
        try:
            with self._connected(worker) as answering:
                attentive(asking, self._orders.notice)
                pump(_stream(asking), _stream(answering), meter)
        except FarEndError as error:
            say(f"worker {worker} {error}")  # before the near end is closed: a coordinator ends at once, and its log is read
            asking.close()
            self._lost()

    def _received(self, near: socket.socket) -> socket.socket:
        if self._serving is None:
            return near
        near.settimeout(self._orders.notice)
        return self._serving.wrap_socket(near, server_side=True)

    def _connected(self, worker: Endpoint) -> socket.socket:
        """Raises FarEndError."""
        try:
            far = socket.create_connection((worker.host, worker.port), timeout=self._orders.notice)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LEAVE_BY_RESET)
            attentive(far, self._orders.notice)
            trust = self._trust.get(worker)
            return trust.over(far, worker.host, self._contexts[worker]) if trust else far
        except TimeoutError as error:
            raise FarEndError(f"took no connection for {self._orders.notice:g} s") from error
        except OSError as error:
            raise FarEndError(how(error)) from error

    def _lost(self) -> None:
        """A coordinator never gets over it, and while it rests it would not even notice."""
        if self._orders.is_local:
            time.sleep(GRACE)
            self.figures.drop()
            os._exit(_LOST)


def _stream(sock: socket.socket) -> Stream:
    return Secure(sock) if isinstance(sock, ssl.SSLSocket) else Plain(sock)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit code {os.WEXITSTATUS(status)}"
