"""
One model file from the web, in a thread. What came stays beside the target until the file is whole and checked:

    NAME.part         the bytes so far
    NAME.part.json    where they are from, and how the server tells that file from a later one

A download that broke off goes on with Range and If-Range (RFC 9110), so that two versions are never mixed. A checksum is
what the user gave, else what the server says in Repr-Digest (RFC 9530).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import requests

from synaptic.errors import EngineError, SynapticError, os_reason
from synaptic.models.address import Address, shown
from synaptic.models.gguf import read_header
from synaptic.models.meter import Meter
from synaptic.models.reply import BusyError, Reply, ask
from synaptic.results import gib

CHUNK = 64 * 1024
SPARE = 256 * 1024**2  # bytes that stay free on the disk


@dataclasses.dataclass(frozen=True)
class Patience:
    """Seconds; `tries` in a row that bring nothing new end a download."""

    connect: float = 10.0
    read: float = 30.0
    pause: float = 1.0
    tries: int = 5


@dataclasses.dataclass(frozen=True)
class Fetched:
    path: Path
    bytes: int
    kept: int  # of these, what an earlier download had left
    sha256: str | None  # when there was one to compare with


class Broken(Exception):  # noqa: N818 - not an error yet: the download goes on
    """The connection ended before the file did."""


class Stopped(Exception):  # noqa: N818
    """Whoever waits no longer does."""


def download(address: Address, target: Path, meter: Meter, *, sha256: str | None = None, patience: Patience = Patience()) -> Fetched:
    """Blocks. `meter` tells of this file alone. EngineError or SynapticError; the part stays where going on makes sense."""
    part = target.with_name(target.name + ".part")
    with _claimed(part) as file:
        job = _Download(address, part, file, meter, patience)
        try:
            told = job.run()
        finally:
            job.leave_nothing_empty()
        digest = sha256 or told
        try:
            size = _checked(address, part, digest, meter)
        except SynapticError:
            job.forget()
            raise
        os.fsync(file)
        part.replace(target)
        job.forget()
    return Fetched(target, size, job.kept, digest)


@dataclasses.dataclass(frozen=True)
class _Origin:
    """`validator`: an ETag or a date by which the server knows the file again; empty: it cannot."""

    url: str
    validator: str
    total: int


class _Download:
    def __init__(self, address: Address, part: Path, file: int, meter: Meter, patience: Patience) -> None:
        self._address = address
        self._part = part
        self._notes = part.with_name(part.name + ".json")
        self._file = file
        self._meter = meter
        self._patience = patience
        self._digest: str | None = None
        self._origin = self._known_origin()
        if self._origin is None:
            os.ftruncate(file, 0)
        self.kept = self._size  # bytes of an earlier download that are of use

    def run(self) -> str | None:
        """Until all is there; the checksum that the server told of."""
        failures, most, opened = 0, self._size, False
        while True:
            try:
                with ask(self._address.url, self._headers(), self._patience.connect, self._patience.read) as reply:
                    opened = True
                    self._take(reply)
                    return self._digest
            except (Broken, requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
                failures, most = (1, self._size) if self._size > most else (failures + 1, most)
                is_hopeless = not opened and not isinstance(error, BusyError)
                if is_hopeless or failures > self._patience.tries or isinstance(error, requests.exceptions.SSLError):
                    raise self._failure(error) from error
            except requests.RequestException as error:
                raise self._failure(error) from error
            except OSError as error:
                raise SynapticError(f"cannot write {self._part}: {os_reason(error)}", hint="make room, and repeat the command") from error
            if self._meter.stop.wait(self._patience.pause * 2 ** (failures - 1)):
                raise Stopped

    def forget(self) -> None:
        self._part.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def leave_nothing_empty(self) -> None:
        if not self._size:
            self.forget()

    @property
    def _size(self) -> int:
        return os.fstat(self._file).st_size

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "Want-Repr-Digest": "sha-256=10"}
        if self._size and self._origin:
            headers |= {"Range": f"bytes={self._size}-", "If-Range": self._origin.validator}
        return headers

    def _take(self, reply: Reply) -> None:
        """Bring the part to its end. Broken: it is not there yet."""
        if reply.status == 416 and self._origin and self._origin.total == self._size:
            return
        if reply.status != 200 and not self._goes_on(reply):
            self._begin_again()
            raise Broken
        if reply.status == 200:
            self._begin_again()
        self._digest = reply.sha256 or self._digest
        self._room_for((reply.total or 0) - self._size)
        self._remember(_Origin(self._address.url, reply.validator, reply.total or 0))
        self._write(reply)

    def _goes_on(self, reply: Reply) -> bool:
        return self._origin is not None and (reply.status, reply.start, reply.total) == (206, self._size, self._origin.total)

    def _write(self, reply: Reply) -> None:
        position = os.lseek(self._file, 0, os.SEEK_END)
        self._meter.done, self._meter.total, self._meter.wake = position, reply.total or 0, reply.break_off
        for piece in reply.pieces(CHUNK):
            if self._meter.stop.is_set():
                raise Stopped
            if position == 0 and piece[:4] != b"GGUF":
                self.forget()
                raise EngineError(f"{shown(self._address.url)} is not a GGUF file")
            _write_all(self._file, piece)
            position += len(piece)
            self._meter.done = position
        if reply.total is not None and position != reply.total:
            raise Broken

    def _begin_again(self) -> None:
        os.ftruncate(self._file, 0)
        self._origin, self._digest, self.kept = None, None, 0

    def _room_for(self, missing: int) -> None:
        free = shutil.disk_usage(self._part.parent).free
        if missing + SPARE > free:
            raise SynapticError(
                f"{gib(missing)} are to come, and {gib(free)} are free in {self._part.parent}", hint="make room, or: --to <folder>"
            )

    def _remember(self, origin: _Origin) -> None:
        self._origin = origin if origin.validator else None
        self._notes.write_text(json.dumps(dataclasses.asdict(origin)))

    def _known_origin(self) -> _Origin | None:
        """None unless what is there can be proved to be the beginning of what is asked for."""
        try:
            raw = json.loads(self._notes.read_text())
            origin = _Origin(str(raw["url"]), str(raw["validator"]), int(raw["total"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return origin if origin.url == self._address.url and origin.validator and origin.validator.isprintable() else None

    def _failure(self, error: Exception) -> EngineError:
        where = shown(self._address.url)
        if self._size and self._origin:
            return EngineError(f"{where} broke off", hint=f"repeat the command: it goes on after {gib(self._size)}")
        return EngineError(f"{where} could not be fetched: {_cause(error)}", hint="is the address right, and the network up?")


@contextlib.contextmanager
def _claimed(part: Path) -> Iterator[int]:
    """The part, open, and ours alone."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise SynapticError(f"cannot write {part}: {os_reason(error)}", hint="another place: model pull --to <folder>") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield file
    except BlockingIOError as error:
        raise SynapticError(f"{part.name} is being fetched already", hint="wait for the other download") from error
    finally:
        os.close(file)


def _checked(address: Address, part: Path, digest: str | None, meter: Meter) -> int:
    """Its size, when it is what it should be."""
    try:
        read_header(part)
    except EngineError as error:
        raise EngineError(f"{shown(address.url)} is no whole GGUF file: {str(error).removeprefix(f'{part} ')}") from error
    if digest and (found := _sha256(part, meter)) != digest:
        raise EngineError(f"{address.file} has the sha256 {found}, not {digest}", hint="it was removed; is the address right?")
    return part.stat().st_size


def _sha256(part: Path, meter: Meter) -> str:
    found = hashlib.sha256()
    with part.open("rb") as file:
        while piece := file.read(1024**2):
            if meter.stop.is_set():
                raise Stopped
            found.update(piece)
    return found.hexdigest()


def _write_all(file: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(file, left) :]


def _cause(error: Exception) -> str:
    if isinstance(error, Broken):
        return "the connection ended early"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate cannot be verified"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, BusyError):
        return f"the server answers with {error}"
    return "nothing answers there" if isinstance(error, requests.ConnectionError) else type(error).__name__
