"""Servers of models: told apart, looked at side by side, left alone when they fail, and asked again."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ollamas import Fake, StartOllama

from synaptic.cluster.backend import Kind, State
from synaptic.cluster.known_nodes import DEFAULT, known_nodes, local_ollama
from synaptic.cluster.node import Node
from synaptic.cluster.nodes import Nodes
from synaptic.errors import EngineError, RefusedError
from synaptic.events import Bus, Event, NodeActivity
from synaptic.settings.nodes import NodeEntry

pytestmark = pytest.mark.anyio
FAKES = Path(__file__).parents[1] / "fakes"
LONG = 20.0  # seconds for a look that must succeed on a busy machine


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Cluster:
    def __init__(self, *known: Node, keys: dict[str, str] | None = None) -> None:
        self.known = list(known)
        self.clock = Clock()
        self.bus = Bus()
        self.told: list[tuple[str, str]] = []
        self.bus.tap(self._hear)
        self.nodes = Nodes(lambda: self.known, self.bus, keys=keys or {}, clock=self.clock, wall=lambda: 5.0)

    def _hear(self, event: Event) -> None:
        if isinstance(event, NodeActivity):
            self.told.append((event.what, event.detail))

    async def until(self, health: str, url: str) -> None:
        async with asyncio.timeout(30):
            while next(state for state in self.nodes.states() if state.node.url == url).health != health:
                await asyncio.sleep(0.01)


def ollama_at(fake: Fake | str, **more) -> Node:
    return Node(fake if isinstance(fake, str) else fake.url, Kind.OLLAMA, **more)


@pytest.fixture
def httpfake() -> Iterator:
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *options: str) -> str:
        process = subprocess.Popen([sys.executable, str(FAKES / program), *options], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        return f"http://127.0.0.1:{process.stdout.readline().split()[1]}"

    yield start
    for process in started:
        with process:
            process.kill()


async def test_an_ollama_is_known_with_what_it_offers(ollamafake: StartOllama) -> None:
    fake = ollamafake("--models", "a:1b,b:latest", "--loaded", "b:latest")
    cluster = Cluster(ollama_at(fake, name="attic"))
    assert cluster.nodes.states()[0].health == "unknown"
    [state] = await cluster.nodes.refresh(within=LONG)
    assert (state.state, state.health, state.is_ready) == (State.IDLE, "ready", True)
    assert (state.software, state.version, state.memory, state.last_seen) == ("Ollama", "0.13.5", 4_000_000, 5.0)
    assert [(offer.name, offer.node, offer.is_loaded) for offer in cluster.nodes.offers()] == [
        ("a:1b", fake.url, False),
        ("b:latest", fake.url, True),
    ]
    assert state.latency_ms
    assert cluster.told == [("state", "ready")]
    record = state.as_json()
    assert isinstance(record, dict)
    assert record["endpoint"] == fake.url.removeprefix("http://")
    assert (record["kind"], record["state"], record["name"], record["running"]) == ("ollama", "idle", "attic", 0)
    assert (record["url"], record["models"][1]["name"]) == (fake.url, "b:latest")


@pytest.mark.parametrize(
    ("program", "options", "kind", "software"),
    [
        ("httpfake.py", ["--as", "llama-server"], Kind.OPENAI, "llama-server"),
        ("httpfake.py", ["--as", "vllm"], Kind.OPENAI, "vLLM"),
        ("httpfake.py", ["--as", "ollama"], Kind.OLLAMA, "Ollama"),
        ("dllamafake.py", ["--api"], Kind.OPENAI, "dllama-api"),
    ],
)
@pytest.mark.parametrize("guess", [Kind.OLLAMA, Kind.OPENAI])
async def test_each_says_itself_of_which_kind_it_is(httpfake, program, options, kind, software, guess) -> None:
    cluster = Cluster(Node(httpfake(program, *options), guess))
    [state] = await cluster.nodes.refresh(within=LONG)
    assert (state.node.kind, state.software, state.health) == (kind, software, "ready")
    assert {offer.engine for offer in state.offers} == {kind.value}
    assert (await cluster.nodes.refresh(within=LONG))[0].node.kind is kind


@pytest.mark.parametrize(
    ("look", "state", "detail"),
    [
        ("error", State.INCOMPATIBLE, "HTTP server"),
        ("locked", State.INCOMPATIBLE, "HTTP server, wants a key"),
        ("garbage", State.INCOMPATIBLE, "HTTP server"),
        ("huge", State.INCOMPATIBLE, "HTTP server"),
        ("close", State.UNREACHABLE, "closed the connection without an answer"),
        ("hang", State.UNREACHABLE, "did not answer in 1 s"),
    ],
)
async def test_what_does_not_answer_as_it_should_is_not_ready_and_says_why(ollamafake, look, state, detail) -> None:
    cluster = Cluster(ollama_at(ollamafake("--look", look)))
    [found] = await cluster.nodes.refresh(within=1 if look == "hang" else LONG)
    assert (found.state, found.health, found.detail, found.is_ready) == (state, "down", detail, False)


async def test_a_redirect_is_not_followed(ollamafake) -> None:
    elsewhere = ollamafake()
    cluster = Cluster(ollama_at(ollamafake("--look", "redirect", "--to", f"{elsewhere.url}/api/version")))
    assert (await cluster.nodes.refresh(within=LONG))[0].health == "down"
    assert elsewhere.lines() == []


async def test_where_nobody_listens_it_says_so_and_what_was_offered_stays_known(ollamafake, free_port: int) -> None:
    fake = ollamafake(port=free_port)
    cluster = Cluster(ollama_at(fake))
    await cluster.nodes.refresh(within=LONG)
    fake.process.kill()
    fake.process.wait()
    [state] = await cluster.nodes.refresh(within=LONG)
    assert (state.health, state.state) == ("lost", State.UNREACHABLE)
    assert "refused the connection" in state.detail
    assert [offer.name for offer in state.offers] == ["demo:latest"]
    assert cluster.told[-1] == ("state", f"lost: {state.detail}")


async def test_the_link_itself_is_never_asked_even_behind_a_name() -> None:
    from synaptic.cluster.asking import _socket

    with pytest.raises(OSError, match="the link itself"):
        _socket((2, 1, 6, "", ("169.254.169.254", 80)))


async def test_the_key_is_sent_to_its_server_only(httpfake) -> None:
    received: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as first, await asyncio.start_server(listen, "127.0.0.1", 0) as second:
        urls = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in (first, second)]
        cluster = Cluster(Node(urls[0], Kind.OPENAI, key_variable="KEY"), Node(urls[1], Kind.OPENAI), keys={"KEY": "sesame"})
        await cluster.nodes.refresh(within=LONG)
        assert [cluster.nodes.key(url) for url in (*urls, "http://other:1")] == ["sesame", None, None]
    with_key = [request for request in received if b"Authorization: Bearer sesame\r\n" in request]
    assert with_key
    assert all(urls[0].removeprefix("http://").encode() in request for request in with_key)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of `localhost`, signed by itself; its key lies beside it."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl: no certificates can be made")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key -out pem"
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path / "pem"


async def test_https_takes_only_a_certificate_that_this_machine_trusts(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key"))

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"version": "0.32.0", "data": [{"id": "m", "owned_by": "vllm"}]}'
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        [state] = await Cluster(Node(url, Kind.OPENAI)).nodes.refresh(within=LONG)
        assert (state.state, state.detail) == (State.INCOMPATIBLE, "has no certificate that this machine trusts")
        program = [sys.executable, str(FAKES.parents[1] / "main.py"), "nodes", "add", url, "--timeout", "20"]
        adding = await asyncio.create_subprocess_exec(
            *program, env=os.environ | {"SSL_CERT_FILE": str(certificate)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await adding.communicate()
    assert b"vLLM" in out + err


async def test_an_ipv6_address_will_do(ollamafake) -> None:
    url = ollamafake("--host", "::1").url.replace("127.0.0.1", "[::1]")
    assert (await Cluster(ollama_at(url)).nodes.refresh(within=LONG))[0].health == "ready"


async def test_answers_are_kept_while_they_are_young(ollamafake) -> None:
    fake = ollamafake()
    cluster = Cluster(ollama_at(fake))
    await cluster.nodes.refresh(within=LONG)
    asked = len(fake.lines())
    await cluster.nodes.refresh(max_age=5, within=LONG)
    assert fake.lines() == []
    cluster.clock.now += 6
    await cluster.nodes.refresh(max_age=5, within=LONG)
    assert len(fake.lines()) == asked


async def test_one_of_three_hangs_and_costs_the_others_one_deadline_once(ollamafake) -> None:
    """After the first deadline nobody waits for it; it is looked at beside, and is back when it answers."""
    stuck = ollamafake("--look", "hang")
    port = int(stuck.url.rpartition(":")[2])
    cluster = Cluster(*(ollama_at(fake) for fake in (ollamafake(), stuck, ollamafake())))
    began = time.monotonic()
    states = await cluster.nodes.refresh(max_age=5, within=5)
    assert time.monotonic() - began >= 5
    assert [state.health for state in states] == ["ready", "down", "ready"]
    assert stuck.lines() == ["GET /api/version"]

    for _ in range(20):
        cluster.clock.now += 0.05
        await cluster.nodes.refresh(max_age=0.01, within=LONG)
    assert stuck.lines() == []  # it rests

    cluster.clock.now += 5
    states = await cluster.nodes.refresh(max_age=0.01, within=LONG)
    assert [state.health for state in states] == ["ready", "down", "ready"]  # nobody waited
    await asyncio.to_thread(stuck.heard, "GET /api/version")  # but it is looked at, beside

    stuck.process.kill()
    stuck.process.wait()
    ollamafake(port=port)
    async with asyncio.timeout(30):
        while (await cluster.nodes.refresh(max_age=0.01))[1].health != "ready":
            cluster.clock.now += 100
            await asyncio.sleep(0.05)
    await cluster.nodes.close()


async def test_a_look_of_the_user_waits_for_all(ollamafake, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    cluster = Cluster(ollama_at(url))
    assert (await cluster.nodes.refresh(max_age=5))[0].health == "down"
    ollamafake(port=free_port)
    assert (await cluster.nodes.refresh(max_age=5))[0].health == "down"  # it rests
    assert (await cluster.nodes.refresh(within=LONG))[0].health == "ready"


async def test_answers_teach_how_fast_it_is(ollamafake) -> None:
    fake = ollamafake()
    cluster = Cluster(ollama_at(fake))
    await cluster.nodes.refresh(within=LONG)
    async with cluster.nodes.serving(fake.url, "demo:latest") as serving:
        assert cluster.nodes.states()[0].running == 1
        serving.done(tokens=101, seconds=11.0, ttft_ms=1000.0)
    assert cluster.nodes.states()[0].tokens_per_second == 10.0
    async with cluster.nodes.serving(fake.url) as serving:
        serving.done(tokens=201, seconds=10.0)
    assert cluster.nodes.states()[0].tokens_per_second == pytest.approx(10 + 0.3 * 10, abs=0.1)
    async with cluster.nodes.serving(fake.url) as serving:
        serving.done(tokens=2, seconds=10.0)  # too short to say
    state = cluster.nodes.states()[0]
    assert (state.running, state.tokens_per_second) == (0, pytest.approx(13, abs=0.1))
    assert cluster.told[1:3] == [("request", ""), ("answer", "101 tokens · 10.0 tok/s")]


async def test_a_node_whose_answers_break_off_rests_and_gets_one_trial(ollamafake) -> None:
    fake = ollamafake()
    cluster = Cluster(ollama_at(fake))
    await cluster.nodes.refresh(within=LONG)
    with pytest.raises(EngineError, match="it broke"):
        async with cluster.nodes.serving(fake.url):
            raise EngineError("it broke")
    [state] = await cluster.nodes.refresh(within=LONG)  # that it says what it is does not mend it
    assert (state.health, state.is_ready, state.state) == ("resting", False, State.IDLE)
    assert state.detail.startswith("it broke; left alone for ")
    with pytest.raises(EngineError, match="is left alone"):
        async with cluster.nodes.serving(fake.url):
            pass
    cluster.clock.now += 10
    assert cluster.nodes.states()[0].is_ready
    async with cluster.nodes.serving(fake.url) as trial:
        assert not cluster.nodes.states()[0].is_ready  # the only one
        trial.done(tokens=10, seconds=1.0)
    assert cluster.nodes.states()[0].is_ready
    assert [what for what, _ in cluster.told] == ["state", "request", "failure", "state", "request", "answer", "state"]


async def test_the_user_may_end_every_rest(ollamafake) -> None:
    fake = ollamafake()
    cluster = Cluster(ollama_at(fake))
    await cluster.nodes.refresh(within=LONG)
    with pytest.raises(EngineError):
        async with cluster.nodes.serving(fake.url):
            raise EngineError("it broke")
    cluster.nodes.forgive()
    assert cluster.nodes.states()[0].is_ready


async def test_what_the_request_is_to_blame_for_is_not_held_against_the_node(ollamafake) -> None:
    fake = ollamafake()
    cluster = Cluster(ollama_at(fake))
    await cluster.nodes.refresh(within=LONG)
    with pytest.raises(RefusedError):
        async with cluster.nodes.serving(fake.url):
            raise RefusedError("no such model")
    with pytest.raises(asyncio.CancelledError):
        async with cluster.nodes.serving(fake.url):
            raise asyncio.CancelledError  # the user stopped it
    assert cluster.nodes.states()[0].is_ready
    assert cluster.nodes.states()[0].running == 0


async def test_a_server_that_serves_one_at_a_time_is_not_lost_while_it_serves_us(ollamafake) -> None:
    fake = ollamafake("--look", "hang")
    cluster = Cluster(ollama_at(fake))
    async with cluster.nodes.serving(fake.url) as serving:
        [state] = await cluster.nodes.refresh(within=0.3)
        assert (state.health, state.running) == ("unknown", 1)
        serving.done(tokens=1, seconds=1)
    assert (await cluster.nodes.refresh(within=0.3))[0].health == "down"


async def test_what_is_known_follows_the_settings(ollamafake) -> None:
    first, second = ollamafake(), ollamafake()
    cluster = Cluster(ollama_at(first))
    await cluster.nodes.refresh(within=LONG)
    cluster.known = [ollama_at(second, priority=2), ollama_at(first, name="new name"), ollama_at(first, name="twice")]
    assert [(state.node.url, state.node.name, state.health) for state in cluster.nodes.states()] == [
        (second.url, "", "unknown"),
        (first.url, "new name", "ready"),
    ]
    cluster.known = []
    assert cluster.nodes.states() == []
    assert cluster.nodes.offers() == []


async def test_closing_ends_every_look(ollamafake) -> None:
    stuck = ollamafake("--look", "hang")
    cluster = Cluster(ollama_at(stuck))
    looking = asyncio.create_task(cluster.nodes.refresh(within=60))
    await asyncio.to_thread(stuck.heard, "GET /api/version")
    await cluster.nodes.close()
    async with asyncio.timeout(30):
        await looking


@pytest.mark.parametrize(
    ("text", "url", "source"),
    [
        (None, DEFAULT, "default"),
        ("", DEFAULT, "default"),
        ("10.0.0.5", "http://10.0.0.5:11434", "environment"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000", "environment"),
        ("[::]:8000", "http://[::1]:8000", "environment"),
        (":8000", "http://127.0.0.1:8000", "environment"),
        ("https://attic:443", "https://attic:443", "environment"),
        ("file:///x", DEFAULT, "default"),
    ],
)
async def test_the_ollama_of_this_machine_is_where_its_variable_says(text: str | None, url: str, source: str) -> None:
    assert local_ollama({} if text is None else {"OLLAMA_HOST": text}) == Node(url, Kind.OLLAMA, source=source)


async def test_a_configured_node_is_no_second_time_the_local_one() -> None:
    entry = NodeEntry(DEFAULT, "mine", 1, key_env="KEY")
    assert known_nodes([entry], {}) == [Node(DEFAULT, Kind.OLLAMA, "mine", 1, "KEY", "configured")]
    assert [node.source for node in known_nodes([NodeEntry("http://a:8000")], {})] == ["configured", "default"]
