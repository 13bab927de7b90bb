"""
The folder in which an rpc-server that was started with -c keeps weights: what is there, and what may go.

    <LLAMA_CACHE>/rpc/2a041cd9bdfe1bb2        one tensor's data, and nothing else, under its FNV-1a-64

A coordinator sends the hash of each tensor of more than 10 MiB first (HASH_THRESHOLD of ggml-rpc.cpp); data follows only
when no file has that name. The server believes the name: it checks neither the hash nor the size, and it writes without
care, so that a full disk or a killed server leaves a short file which later loads as wrong weights.

Holds where layers are spread, which is how llama.cpp splits unless told `-sm tensor`: that sends parts of tensors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import re
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from synaptic.environment import Environment
from synaptic.errors import EngineError, SynapticError, os_reason
from synaptic.files import path_of
from synaptic.models.gguf import read_tensors
from synaptic.models.split import other_files, read_whole
from synaptic.models.tensor_hash import Stretch, hashed, open_quietly

SMALLEST = 10 * 1024**2  # bytes; a tensor of exactly this size is still sent
SAMPLE = 4096  # bytes
PART = ".part"
LOCK = ".lock"
_NAME = re.compile(r"[0-9a-f]{16}")
# they stay with the coordinator (LLM_TENSOR_LAYER_INPUT of llama-arch.cpp); the first is sent when it also is the output
_INPUT = {"token_embd.weight", "per_layer_token_embd.weight", "position_embd.weight", "token_types.weight"}


@dataclasses.dataclass(frozen=True)
class Kept:
    name: str
    bytes: int
    used_at: float  # seconds since the epoch; on most systems a read counts once a day


def cache_folder(environment: Environment) -> Path | None:
    """Where the workers of this machine keep tensors: below LLAMA_CACHE, else below our own cache; None without a home."""
    named = environment.variables.get("LLAMA_CACHE")
    if named:
        return path_of(named).absolute() / "rpc"
    return environment.cache_dir / "llama.cpp" / "rpc" if environment.cache_dir else None


def sent_weights(model: Path) -> list[Stretch]:
    """The tensors of a model that a worker keeps, over all of its files. Blocks on the disk; EngineError."""
    files = [model, *(other_files(model, count) if (count := read_whole(model).split_count) > 1 else [])]
    found: dict[str, Stretch] = {}
    for file in files:
        start, tensors = read_tensors(file)
        found |= {tensor.name: Stretch(file, start + tensor.offset, tensor.bytes) for tensor in tensors}
    stays = _INPUT if "output.weight" in found else _INPUT - {"token_embd.weight"}
    return [stretch for name, stretch in found.items() if stretch.bytes > SMALLEST and name not in stays]


def kept_in(folder: Path) -> list[Kept]:
    """Every tensor in the folder, the longest unused first."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and (seen := _seen(entry)):
                found.append(Kept(entry.name, seen.st_size, max(seen.st_atime, seen.st_mtime)))
    return sorted(found, key=lambda kept: kept.used_at)


def held(weights: Sequence[Stretch], folder: Path, kept: Sequence[Kept]) -> int:
    """How many bytes of these weights are in the folder, judged by size and two samples of each: no reading of gigabytes."""
    sizes = {each.bytes for each in weights}
    there = {_sample(Stretch(folder / each.name, 0, each.bytes)) for each in kept if each.bytes in sizes}
    lengths = {each.bytes for each in kept}
    return sum(each.bytes for each in weights if each.bytes in lengths and _sample(each) in there)


def surplus(kept: Sequence[Kept], limit: int) -> list[Kept]:
    """What must go, the longest unused first, for the rest to fit into `limit` bytes."""
    total, going = sum(each.bytes for each in kept), []
    for each in sorted(kept, key=lambda each: each.used_at):
        if total <= limit:
            break
        total -= each.bytes
        going.append(each)
    return going


def remove(folder: Path, going: Sequence[Kept]) -> int:
    """Remove them, and what a stopped seed left; the bytes that are free now. Call it `alone` in the folder."""
    freed = 0
    for each in going:
        with contextlib.suppress(FileNotFoundError):
            (folder / each.name).unlink()
            freed += each.bytes
    for left in folder.glob(f".*{PART}"):
        freed += left.stat().st_size
        left.unlink()
    return freed


def damaged(folder: Path, kept: Sequence[Kept], tell: Callable[[int], None], stop: threading.Event) -> list[Kept]:
    """The files whose data is not what their name says. Reads them all."""
    waiting = deque(Stretch(folder / each.name, 0, each.bytes) for each in kept if each.bytes)
    right = {stretch.path.name for stretch, name in hashed(waiting, tell, stop) if stretch.path.name == name}
    return [] if stop.is_set() else [each for each in kept if each.name not in right]


def drop_unfinished(folder: Path, since: float) -> None:
    """Remove what a server wrote after `since` (seconds since the epoch), for it was killed. What was seeded is read-only, and whole."""
    for each in kept_in(folder):
        path = folder / each.name
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            if found.st_mtime >= since and found.st_mode & stat.S_IWUSR:
                path.unlink()


def made(folder: Path) -> Path:
    """The folder, there and ours to write. SynapticError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise SynapticError(f"cannot write into {folder}: {os_reason(error)}", hint="another place: export LLAMA_CACHE=<folder>") from error
    return folder


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other command of ours writes or removes there meanwhile. SynapticError when one does."""
    with (made(folder) / LOCK).open("rb") as lock:
        _claim(lock.fileno())
        yield


def _claim(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SynapticError("another cache command is at work in this folder", hint="try again when it is done") from error


def _seen(entry: os.DirEntry[str]) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        found = entry.stat(follow_symlinks=False)
        return found if stat.S_ISREG(found.st_mode) else None
    return None


def _sample(stretch: Stretch) -> tuple[int, bytes]:
    """Its size, its beginning and its middle; nothing equals a file that cannot be read."""
    try:
        descriptor = open_quietly(stretch.path)
    except OSError:
        return -1, str(stretch.path).encode(errors="replace")
    try:
        places = ((at, min(SAMPLE, stretch.bytes - at)) for at in (0, stretch.bytes // 2))
        return stretch.bytes, b"".join(os.pread(descriptor, count, stretch.start + at) for at, count in places)
    except OSError as error:
        raise EngineError(f"{stretch.path} cannot be read: {os_reason(error)}") from error
    finally:
        os.close(descriptor)
