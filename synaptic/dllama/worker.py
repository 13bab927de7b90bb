"""
A distributed-llama worker: `python -m synaptic.dllama.worker --host 0.0.0.0 --port 9999`.

It serves the original's roots and ours, one at a time, and runs until SIGTERM or Ctrl-C. The protocol has no key:
whoever reaches the port may use the worker.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib.util
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from synaptic.dllama import wire
from synaptic.dllama.door import Door
from synaptic.dllama.graph import GraphError
from synaptic.dllama.header import NotAModelError
from synaptic.dllama.link import Link, LostError
from synaptic.dllama.serve import Terms, serve
from synaptic.dllama.sizes import bytes_of, gib

if TYPE_CHECKING:
    from synaptic.dllama.model_file import ModelFile

PORT = 9999  # the one of the original's documents, where `dllama discover` looks; its program's own default is 9990
_WAYS_OUT = {
    errno.EADDRINUSE: "   try: --port 9998, or 0 for any that is free",
    errno.EADDRNOTAVAIL: f"   it is none of this machine's, which {'ifconfig' if sys.platform == 'darwin' else 'hostname -I'} lists",
    errno.EACCES: "   try: --port 9999",
}
_LEAVING = 5.0  # seconds for a session to notice that we end


class CannotServeError(Exception):
    """A sentence for the user."""


class Worker:
    def __init__(self, listener: socket.socket, terms: Terms, tell: Callable[[str], None]) -> None:
        self._door = Door(listener, self._welcome)
        self._terms = terms
        self._tell = tell
        self._opened: list[Link] = []  # of the session
        self._session: threading.Thread | None = None
        self._ends = False

    def run(self) -> None:
        """Until `stop`."""
        self._door.run()
        self._ends = True
        for link in list(self._opened):
            link.cut()
        if self._session:
            self._session.join(_LEAVING)

    def stop(self) -> None:
        """From any thread or signal."""
        self._door.close()

    def stop_on(self, *signals: signal.Signals) -> None:
        """From the main thread. Another one may take the signal while this one falls asleep: then only a byte wakes it."""
        signal.set_wakeup_fd(self._door.ring.fileno(), warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda *_: self.stop())

    def _welcome(self, root: Link, hello: wire.Hello) -> None:
        self._opened = [root]
        self._session = threading.Thread(target=self._serve, args=(root, hello), daemon=True)
        self._session.start()

    def _serve(self, root: Link, hello: wire.Hello) -> None:
        self._tell(f"{root.name} connected: worker {hello.index + 1} of {hello.n_workers}")
        end = "a mistake of this worker"
        try:
            serve(self._opened, hello, self._door, self._terms, self._tell)
            end = f"{root.name} said stop"
        except LostError as error:
            end = str(error)
        except wire.WireError as error:
            end = f"{root.name} {error}"
        except GraphError as error:
            end = f"what {root.name} wants cannot be done here: {error}"
        except MemoryError:
            end = f"what {root.name} wants does not fit into memory"
        finally:
            for link in self._opened:
                link.close()
            self._tell(f"session over: {'this worker ends' if self._ends else end}")
            self._door.left()


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    try:
        terms = Terms(options.threads, options.memory, options.idle, options.patience, _own(options.model))
        listener = _listener(options.host, options.port)
    except CannotServeError as error:
        _tell(str(error))
        return 1
    worker = Worker(listener, terms, _tell)
    worker.stop_on(signal.SIGTERM, signal.SIGINT)
    host, port = listener.getsockname()[:2]
    _tell(f"listening on {host}:{port}, {_lent(options)}")
    _tell(_reached(host, port))
    threading.Thread(target=_warm, daemon=True).start()
    with _announced(options, host, port):
        worker.run()
    return 0


def _lent(options: argparse.Namespace) -> str:
    what = [f"{options.threads} thread{'s' * (options.threads > 1)}", f"{gib(options.memory)} of memory"]
    what += [f"{options.model.name} at hand"] if options.model else []
    what += [] if importlib.util.find_spec("numba") else ["slowly: numba is missing"]
    return ", ".join(what)


def _reached(host: str, port: int) -> str:
    """What to type on the machine of a root."""
    where = "ADDRESS" if host == "0.0.0.0" else host
    alone = "; this machine alone reaches it, others with --host ADDRESS" if host.startswith("127.") else ""
    return f"  for its root: dllama add {where}:{port}, or distributed-llama's own with --workers {where}:{port}{alone}"


def _announced(options: argparse.Namespace, host: str, port: int) -> contextlib.AbstractContextManager[None]:
    if not options.announce:
        return contextlib.nullcontext()
    from synaptic import __version__
    from synaptic.dllama.announce import announced

    model = {"model": options.model.name[:100]} if options.model else {}
    told = {"ver": __version__, "thr": str(options.threads), "mem": str(options.memory >> 20)}  # MiB
    return announced(host, port, told | model, _tell)


def _own(path: Path | None) -> ModelFile | None:
    if not importlib.util.find_spec("numpy"):
        raise CannotServeError("numpy is missing   try: python -m pip install numpy numba")
    if path is None:
        return None
    from synaptic.dllama.model_file import ModelFile  # with numpy

    try:
        return ModelFile(path)
    except OSError as error:
        raise CannotServeError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except NotAModelError as error:
        raise CannotServeError(f"{path} {error}") from error


def _listener(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        why = str(getattr(error, "strerror", None) or error).partition(" (while")[0].lower()
        raise CannotServeError(f"cannot listen on {host}:{port}: {why}{_WAYS_OUT.get(getattr(error, 'errno', None) or 0, '')}") from error


def _warm() -> None:
    from synaptic.dllama.warming import warm  # takes a moment, and a root may come meanwhile

    warm()


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m synaptic.dllama.worker", description="A distributed-llama worker.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; the protocol has no key (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=PORT, help="0: any that is free (default: %(default)s)")
    parser.add_argument("--threads", "--nthreads", type=_threads, default=_cores(), help="to compute with (default: %(default)s)")
    parser.add_argument(
        "--memory", type=_bytes, default=_free_memory(), help="the most for one session, as 8G or 8GiB (default: what is free)"
    )
    parser.add_argument("--model", type=Path, metavar="FILE.m", help="takes the weights from it that a root does not send")
    parser.add_argument("--announce", action="store_true", help="tell the link of this worker by zeroconf; needs the zeroconf package")
    parser.add_argument("--idle", type=_seconds, default=86_400.0, help="seconds that a root may think between passes (default: a day)")
    parser.add_argument("--patience", type=_seconds, default=60.0, help="seconds to wait for bytes that are due (default: %(default)g)")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 1024")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not 0 < float(text) <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no time in seconds")
    return float(text)


def _bytes(text: str) -> int:
    found = bytes_of(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size, as 8GiB is one")
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_memory() -> int:
    """What the system would give now, less a tenth."""
    try:
        table = Path("/proc/meminfo").read_text(encoding="ascii")
        free = int(re.findall(r"MemAvailable:\s+(\d+) kB", table)[0]) * 1024
    except (OSError, IndexError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free * 9 // 10


if __name__ == "__main__":
    os._exit(main())  # a thread may be in a compiler, which would fall over at an orderly end
