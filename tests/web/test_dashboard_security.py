"""Who may ask the dashboard what. The whole program, asked from outside as an attacker's page would ask it."""

from __future__ import annotations

import socket

import aiohttp
import psutil
import pytest
import requests
from conftest import REPOSITORY

PATHS = (
    "/",
    "/main.js",
    "/api/health",
    "/api/dashboard",
    "/metrics",
    "/api/run",
    "/ws/dashboard",
    "/ws/logs",
    "/ws/llama_cpp_logs",
    "/nowhere",
)
SOCKETS = ("/ws/dashboard", "/ws/logs", "/ws/ollama_logs", "/ws/llama_cpp_logs")
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def test_it_listens_on_this_machine_only(served):
    here = served()
    listening = [each for each in psutil.Process(here.process.pid).net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert [(each.laddr.ip, each.laddr.port) for each in listening] == [("127.0.0.1", here.port)]


def test_another_name_for_this_machine_is_refused_on_every_path(served):
    here = served()
    strangers = (
        "evil.example",
        f"evil.example:{here.port}",
        f"127.0.0.1.nip.io:{here.port}",
        "127.0.0.1",
        f"127.0.0.1:{here.port + 1}",
        "",
    )
    for path in PATHS:
        for host in strangers:
            assert here.get(path, Host=host, Authorization=f"Bearer {here.token}").status_code == 421, (path, host)
        assert here.raw(f"GET {path} HTTP/1.0\r\n\r\n".encode()).split()[1] == b"421", path
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert here.get("/", Host=f"{host}:{here.port}").status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.com", "http://127.0.0.1:1", "https://127.0.0.1:{port}"]
)
def test_a_page_elsewhere_opens_no_websocket_and_runs_nothing(served, origin: str):
    here = served()
    headers = {"Origin": origin.format(port=here.port), "Authorization": f"Bearer {here.token}"}
    for path in SOCKETS:
        assert here.get(path, **UPGRADE, **headers).status_code == 403
    assert here.run("config set model evil", **headers).status_code == 403
    assert here.run("config set model evil", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert here.run("status").json()["model"] == "demo"


@pytest.mark.parametrize("given", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}, {"Authorization": "Basic x"}])
def test_without_the_token_there_is_no_websocket_and_no_command(served, given: dict[str, str]):
    here = served()
    for path in SOCKETS:
        assert here.get(path, **UPGRADE, **given).status_code == 401
    answer = requests.post(f"{here.url}/api/run", json={"line": "config set model evil"}, headers=given, timeout=20)
    assert answer.status_code == 401
    assert answer.json()["error"]["hint"] == "open the address that `dashboard url` prints"
    assert here.run("status").json()["model"] == "demo"


def test_an_action_is_no_form_and_no_link(served):
    here = served()
    told = {"Authorization": f"Bearer {here.token}"}
    form = requests.post(f"{here.url}/api/run", data={"line": "config set model evil"}, headers=told, timeout=20)
    assert form.status_code == 415
    assert here.get("/api/run?line=config+set+model+evil", **told).status_code == 405
    for body in (b"", b"[]", b'{"line": 1}', b'{"line": "a\\u0000"}', b"[" * 100_000):
        answer = requests.post(f"{here.url}/api/run", data=body, headers={**told, "Content-Type": "application/json"}, timeout=20)
        assert answer.status_code == 400, body[:20]
    big = requests.post(f"{here.url}/api/run", json={"line": "x" * 300_000}, headers=told, timeout=20)
    assert big.status_code == 413


def test_every_answer_says_what_a_browser_must_not_do_with_it(served):
    here = served()
    for path in PATHS:
        headers = here.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy, path
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
        assert "aiohttp" not in headers["Server"]
        assert headers["Cache-Control"] == ("no-cache" if path in ("/", "/main.js") else "no-store"), path


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e%2fetc%2fpasswd",
        "//etc/passwd",
        "/..\\..\\etc\\passwd",
        "/main.js%00.css",
        "/static/main.js",
        "/MAIN.JS",
    ],
)
def test_only_the_pages_own_files_are_there(served, path: str):
    here = served()
    told = f"Host: 127.0.0.1:{here.port}\r\nAuthorization: Bearer {here.token}\r\nConnection: close"
    answer = here.raw(f"GET {path} HTTP/1.1\r\n{told}\r\n\r\n".encode())
    assert answer.split()[1] in (b"400", b"404")
    assert b"root:" not in answer


def test_nothing_secret_is_in_any_answer(served, own_home):
    here = served(OLLAMA_API_KEY="sesame-open", CONSUL_HTTP_TOKEN="sesame-too")
    answers = [here.get(path) for path in ("/api/dashboard", "/metrics", "/api/health")]
    assert [answer.status_code for answer in answers] == [200] * 3
    said = "".join(answer.text for answer in answers)
    for secret in (here.token, "sesame", str(own_home), str(REPOSITORY)):
        assert secret not in said


def test_a_page_that_comes_back_can_tell_the_program_from_a_stranger(served):
    here = served()
    first, again, other = (here.get(f"/api/health?prove={nonce}").json()["proof"] for nonce in ("a", "a", "b"))
    assert first == again != other
    assert here.token not in (first, other)


@pytest.mark.anyio
async def test_a_browser_gives_its_token_as_a_subprotocol(served):
    here = served()
    protocols = ("synaptic", f"token.{here.token}")
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{here.url}/ws/dashboard", protocols=protocols, origin=here.url) as live:
        assert live.protocol == "synaptic"  # and not the token
        assert (await live.receive_json())["version"]


@pytest.mark.anyio
async def test_the_port_is_free_at_once_when_it_ends_and_viewers_are_told(served):
    here = served()
    client = aiohttp.ClientSession(headers={"Authorization": f"Bearer {here.token}"})
    async with client as http, http.ws_connect(f"{here.url}/ws/logs") as logs, http.ws_connect(f"{here.url}/ws/dashboard"):
        assert here.interrupt() == 130
        async for _ in logs:
            pass
        assert logs.close_code == aiohttp.WSCloseCode.GOING_AWAY
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", here.port))


def test_a_taken_port_costs_a_sentence(served, free_port: int):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        here = served(port=free_port)
        here.interrupt()
    assert free_port < here.port
    assert f"port {free_port} is taken; this is the next free one" in here.errors.read_text()


def test_the_token_stays_the_same_and_is_the_owners_alone(served, own_home):
    first = served()
    first.interrupt()
    kept = next(own_home.rglob("dashboard.token"))
    assert kept.stat().st_mode & 0o777 == 0o600
    assert served().token == first.token
    kept.chmod(0o644)  # others may have read it
    assert served().token != first.token
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.replace(own_home / "elsewhere")
    kept.symlink_to(own_home / "elsewhere")
    assert served().token not in (first.token, (own_home / "elsewhere").read_text().strip())
    assert not kept.is_symlink()
