"""
The sweep: which ports are open, found out without any server noticing.

Linux: half-open. With TCP_DEFER_ACCEPT on the *client's* socket the kernel keeps back the third packet of the
handshake for 200 ms, waiting for data; we close within that time, with a RST, and the server's accept() never returns.
Elsewhere: connect, then RST. A worker of distributed-llama dies of that, so its ports are left alone there.

    us        SYN ─────────▶              RST ─────▶
    server          ◀───────── SYN+ACK              nothing to accept

One epoll loop in a thread of its own: nothing else this program does can delay a close beyond those 200 ms.
"""

from __future__ import annotations

import errno
import ipaddress
import random
import selectors
import socket
import struct
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv6Address

from synaptic.discovery.limits import LEAST, MARGIN, Limits
from synaptic.endpoint import Endpoint
from synaptic.errors import SynapticError, os_reason

IS_HALF_OPEN = sys.platform == "linux"
Host = int | IPv6Address  # an IPv4 address is a number: millions of them fit into memory
Probe = tuple[Host, int]  # and its port

_RESET = struct.pack("ii", 1, 0)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_MOST_REFUSALS = 40  # in a row, with a tick between them
_LAUNCHES = 256  # before answers are looked at again
_TICK = 0.05  # seconds: how soon a stop is noticed, and how often progress is told


class Sweep:
    """One use. `opened` and `progressed` are called in the sweeping thread; the fields are for reading once it is over."""

    def __init__(
        self,
        probes: Iterator[Probe],
        limits: Limits,
        opened: Callable[[Probe], None],
        progressed: Callable[[int], None] = lambda done: None,
    ) -> None:
        self.done = 0
        self.up: set[Host] = set()  # addresses that answered at all: refusing is an answer
        self.blocked: dict[Host, int] = {}  # address → the errno with which this machine refused to send
        self._probes = probes
        self._limits = limits
        self._at_once = limits.at_once
        self._opened = opened
        self._progressed = progressed
        self._postponed: Probe | None = None
        self._flying: dict[socket.socket, tuple[Probe, float]] = {}  # oldest first: when its time is over
        self._refusals = 0
        self._told = 0.0
        self._stopped = threading.Event()

    def stop(self) -> None:
        """From any thread: `run` returns within a twentieth of a second, every socket closed."""
        self._stopped.set()

    def run(self) -> None:
        """Raises SynapticError when not a single socket can be opened."""
        with selectors.DefaultSelector() as selector:
            try:
                while not self._stopped.is_set() and (self._launch(selector) or self._flying):
                    self._collect(selector)
                    self._expire(selector)
                    self._tell()
            finally:
                for sock in self._flying:
                    sock.close()
        self._progressed(self.done)

    def _launch(self, selector: selectors.BaseSelector) -> bool:
        """False: there is nothing more to launch."""
        if self._limits.neighbours_full and self._limits.neighbours_full():
            return not self._stopped.wait(_TICK)
        most = MARGIN if self._limits.neighbours_full else _LAUNCHES
        for _ in range(min(most, self._at_once - len(self._flying))):
            probe = self._postponed or next(self._probes, None)
            self._postponed = None
            if probe is None:
                return False
            if not self._start(probe, selector):
                self._postponed = probe
                return True
        return True

    def _start(self, probe: Probe, selector: selectors.BaseSelector) -> bool:
        """False: this machine has no room for one more now."""
        try:
            sock = _half_open_socket(probe[0])
        except OSError as error:
            return self._slow_down(error)
        code = _connect(sock, probe)
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            self._flying[sock] = (probe, time.monotonic() + self._limits.timeout)
            selector.register(sock, selectors.EVENT_WRITE)
            return True
        sock.close()
        if code in _EXHAUSTED:
            return self._slow_down(OSError(code, "connect"))
        self._settle(probe, code, is_local=True)
        return True

    def _slow_down(self, error: OSError) -> bool:
        self._refusals = 0 if self._flying else self._refusals + 1
        if error.errno not in _EXHAUSTED or self._refusals > _MOST_REFUSALS:
            raise SynapticError(f"this machine opens no more sockets: {os_reason(error)}", hint="try: ulimit -n 1024") from error
        self._at_once = max(LEAST, len(self._flying))
        self._stopped.wait(0 if self._flying else _TICK)  # others of this program hold them all for now
        return False

    def _collect(self, selector: selectors.BaseSelector) -> None:
        for key, _ in selector.select(_TICK if self._flying else 0):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            probe = self._land(sock, selector)
            self._settle(probe, code, is_local=sys.platform == "darwin")  # there the firewall refuses late

    def _land(self, sock: socket.socket, selector: selectors.BaseSelector) -> Probe:
        selector.unregister(sock)
        sock.close()
        return self._flying.pop(sock)[0]

    def _expire(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        while self._flying:
            sock, (_, deadline) = next(iter(self._flying.items()))
            if deadline > now:
                return
            self._settle(self._land(sock, selector), errno.ETIMEDOUT, is_local=False)

    def _settle(self, probe: Probe, code: int, *, is_local: bool) -> None:
        self.done += 1
        if code == 0:
            self.up.add(probe[0])
            self._opened(probe)
        elif code in (errno.ECONNREFUSED, errno.ECONNRESET):
            self.up.add(probe[0])
        elif is_local and code != errno.EHOSTDOWN:  # macOS has just asked for that neighbour, in vain
            self.blocked[probe[0]] = code

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= 2 * _TICK:
            self._told = now
            self._progressed(self.done)


def in_random_order(addresses: Iterator[int], ports: Sequence[int]) -> Iterator[Probe]:
    """Every address with every port; neither a router nor a switch sees a row of neighbours."""
    known = array("I", addresses)
    order = array("I", range(len(known) * len(ports)))
    random.shuffle(order)
    for number in order:
        host, port = divmod(number, len(ports))
        yield known[host], ports[port]


def endpoint_of(probe: Probe) -> Endpoint:
    host, port = probe
    return Endpoint(_dotted(host) if isinstance(host, int) else str(host), port)


def host_of(text: str) -> Host | None:
    """None: it is no address, but a name."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address if isinstance(address, IPv6Address) else int(address)


def _dotted(address: int) -> str:
    return socket.inet_ntoa(address.to_bytes(4, "big"))


def _connect(sock: socket.socket, probe: Probe) -> int:
    """The errno of having begun."""
    host, port = probe
    if isinstance(host, int):
        return sock.connect_ex((_dotted(host), port))
    bare, _, link = str(host).partition("%")
    try:
        return sock.connect_ex((bare, port, 0, _number_of(link) if link else 0))
    except OSError:  # no interface has the name
        return errno.ENETUNREACH


def _number_of(interface: str) -> int:
    return int(interface) if interface.isdecimal() else socket.if_nametoindex(interface)


def _half_open_socket(host: Host) -> socket.socket:
    sock = socket.socket(socket.AF_INET if isinstance(host, int) else socket.AF_INET6, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
    return sock
