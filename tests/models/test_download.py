"""Downloads from a real web server on this machine that misbehaves on request."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from models.conftest import small_model

from synaptic.errors import EngineError, SynapticError
from synaptic.models.address import Address
from synaptic.models.download import Fetched, Patience, Stopped, download
from synaptic.models.meter import Meter

FAKE = Path(__file__).parents[1] / "fakes" / "fileserver.py"
SOON = Patience(connect=5, read=20, pause=0.001, tries=3)


class Server:
    def __init__(self, *options: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, str(FAKE), *options], stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline().split()[1])}"

    def requests(self) -> list[list[str]]:
        """Ends it."""
        self.process.kill()
        assert self.process.stdout
        return [line.split() for line in self.process.stdout.read().splitlines()]


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> Server:
            server = Server(*options)
            stack.enter_context(server.process)
            stack.callback(server.process.kill)
            return server

        yield start


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "there" / "m.gguf", layers=120)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "here" / "m.gguf"


def fetch(server: Server, target: Path, path: str = "/m.gguf", sha256: str | None = None, meter: Meter | None = None) -> Fetched:
    return download(Address.parse(server.url + path), target, meter or Meter(), sha256=sha256, patience=SOON)


def break_off(server: Server, target: Path, after: int) -> None:
    """As if the user interrupted it there."""
    with pytest.raises(Stopped):
        fetch(server, target, meter=_Impatient(after))


class _Impatient(Meter):
    def __init__(self, most: int) -> None:
        self._most = most
        super().__init__()

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "done" and isinstance(value, int) and value >= self._most:
            self.stop.set()


def is_clean(target: Path) -> bool:
    return [path.name for path in target.parent.iterdir()] == [target.name]


def test_the_whole_file_comes_and_nothing_else(serve, model, target) -> None:
    meter = Meter()
    size = model.stat().st_size
    assert fetch(serve("--file", str(model)), target, meter=meter) == Fetched(target, size, 0, None)
    assert target.read_bytes() == model.read_bytes()
    assert is_clean(target)
    assert (meter.done, meter.total) == (size, size)


def test_a_connection_that_is_cut_is_taken_up_where_it_ended(serve, model, target) -> None:
    server = serve("--file", str(model), "--cut", "100000")
    fetch(server, target)
    assert target.read_bytes() == model.read_bytes()
    first, second = server.requests()
    assert first[1:] == ["-", "-"]
    assert 0 < int(second[1].removeprefix("bytes=").removesuffix("-")) <= 100000
    assert second[2].startswith('"')


def test_an_interrupted_download_goes_on_later(serve, model, target) -> None:
    server = serve("--file", str(model))
    break_off(server, target, 130_000)
    left = target.with_name("m.gguf.part").stat().st_size
    assert left >= 130_000
    assert not target.exists()
    assert fetch(server, target).kept == left
    assert target.read_bytes() == model.read_bytes()
    assert server.requests()[1][1] == f"bytes={left}-"


def test_versions_are_never_mixed(serve, model, target, tmp_path) -> None:
    newer = small_model(tmp_path / "newer.gguf", layers=121)
    server = serve("--file", str(model), "--then", str(newer))
    break_off(server, target, 130_000)
    assert fetch(server, target).kept == 0
    assert target.read_bytes() == newer.read_bytes()


@pytest.mark.parametrize("option", ["--no-ranges", "--no-validator", "--weak"])
def test_what_cannot_be_taken_up_begins_again(serve, model, target, option) -> None:
    server = serve("--file", str(model), option, "--cut", "100000")
    assert fetch(server, target).kept == 0
    assert target.read_bytes() == model.read_bytes()
    if option != "--no-ranges":
        assert server.requests()[1][1] == "-"


def test_a_part_that_is_whole_already_is_not_fetched_again(serve, model, target) -> None:
    server = serve("--file", str(model))
    size = model.stat().st_size
    break_off(server, target, 130_000)
    target.with_name("m.gguf.part").write_bytes(model.read_bytes())
    assert fetch(server, target).kept == size
    assert server.requests()[1][1] == f"bytes={size}-"


def test_a_part_longer_than_the_file_is_thrown_away(serve, model, target) -> None:
    server = serve("--file", str(model))
    break_off(server, target, 130_000)
    target.with_name("m.gguf.part").write_bytes(model.read_bytes() + b"more")
    assert fetch(server, target).kept == 0
    assert target.read_bytes() == model.read_bytes()


@pytest.mark.parametrize("notes", ["", "[]", '{"url": "http://elsewhere/m.gguf", "validator": "\\"x\\"", "total": 9}', '{"url": 1}'])
def test_a_part_of_unknown_origin_is_not_trusted(serve, model, target, notes) -> None:
    target.parent.mkdir()
    target.with_name("m.gguf.part").write_bytes(b"GGUF of something else")
    target.with_name("m.gguf.part.json").write_text(notes)
    fetch(serve("--file", str(model)), target)
    assert target.read_bytes() == model.read_bytes()
    assert is_clean(target)


def test_the_checksum_that_was_given_counts(serve, model, target) -> None:
    right = hashlib.sha256(model.read_bytes()).hexdigest()
    server = serve("--file", str(model))
    assert fetch(server, target, sha256=right).sha256 == right
    target.unlink()
    with pytest.raises(EngineError, match=f"has the sha256 {right}, not {'0' * 64}"):
        fetch(server, target, sha256="0" * 64)
    assert list(target.parent.iterdir()) == []


def test_the_checksum_that_the_server_tells_counts(serve, model, target) -> None:
    digest = hashlib.sha256(model.read_bytes()).digest()
    header = f"md5=:AAAA:, sha-256=:{base64.b64encode(digest).decode()}:"
    assert fetch(serve("--file", str(model), "--digest", header), target).sha256 == digest.hex()
    target.unlink()
    with pytest.raises(EngineError, match="has the sha256"):
        fetch(serve("--file", str(model), "--digest", f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"), target)
    assert not target.exists()


def test_what_is_no_gguf_file_is_not_fetched_to_its_end(serve, tmp_path, target) -> None:
    (tmp_path / "page.gguf").write_bytes(b"<html>" * 100_000)
    meter = Meter()
    with pytest.raises(EngineError, match=r"/m\.gguf is not a GGUF file"):
        fetch(serve("--file", str(tmp_path / "page.gguf")), target, meter=meter)
    assert meter.done == 0
    assert list(target.parent.iterdir()) == []


def test_a_file_that_is_short_at_its_source_is_refused(serve, model, target) -> None:
    os.truncate(model, model.stat().st_size - 1000)
    with pytest.raises(EngineError, match="is no whole GGUF file: ends early"):
        fetch(serve("--file", str(model)), target)
    assert list(target.parent.iterdir()) == []


def test_a_length_that_is_never_reached_is_given_up_and_said(serve, model, target) -> None:
    server = serve("--file", str(model), "--claim", "10000000", "--no-validator")
    with pytest.raises(EngineError, match="could not be fetched"):
        fetch(server, target)
    assert len(server.requests()) == SOON.tries + 1
    assert not target.exists()


def test_redirections_are_followed_but_not_for_ever(serve, model, target) -> None:
    server = serve("--file", str(model))
    fetch(server, target, "/hop/5/m.gguf")
    assert target.exists()
    target.unlink()
    with pytest.raises(EngineError, match="more than 5 redirections"):
        fetch(server, target, "/hop/6/m.gguf")
    with pytest.raises(EngineError, match="leads to file:///m.gguf, which is no web address"):
        fetch(server, target, "/to/file:///m.gguf")


def test_refusals_are_said_in_words(serve, model, target) -> None:
    for status, words in ((404, "has no such file"), (403, "does not give that file away"), (418, "answers with status 418")):
        with pytest.raises(EngineError, match=words):
            fetch(serve("--file", str(model), "--status", str(status)), target)
    with pytest.raises(EngineError, match="comes as gzip"):
        fetch(serve("--file", str(model), "--gzip"), target)


def test_a_server_that_asks_for_patience_is_asked_again(serve, model, target) -> None:
    server = serve("--file", str(model), "--status", "503")
    fetch(server, target)
    assert target.read_bytes() == model.read_bytes()
    assert len(server.requests()) == 2


def test_nobody_there_is_said_at_once(target, free_port) -> None:
    with pytest.raises(EngineError, match="could not be fetched: nothing answers there"):
        download(Address.parse(f"http://127.0.0.1:{free_port}/m.gguf"), target, Meter(), patience=Patience())
    assert list(target.parent.iterdir()) == []


def test_one_download_of_a_file_at_a_time(serve, model, target) -> None:
    target.parent.mkdir()
    with target.with_name("m.gguf.part").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SynapticError, match=r"m\.gguf\.part is being fetched already"):
            fetch(serve("--file", str(model)), target)


def test_a_slow_server_can_be_left_and_what_came_stays(serve, model, target) -> None:
    server = serve("--file", str(model), "--hold", "131072")
    meter = Meter()
    ended = threading.Event()

    def run() -> None:
        with contextlib.suppress(Stopped):
            fetch(server, target, meter=meter)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    while not meter.done:
        assert not ended.wait(0.01)
    meter.end()
    assert ended.wait(15)  # it would wait for 20 s to be sent something
    assert target.with_name("m.gguf.part").stat().st_size == meter.done
