"""A dashboard that other machines can reach: what it says, and what it asks for."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from synaptic.commands import load
from synaptic.environment import Environment
from synaptic.errors import SynapticError
from synaptic.results import Note
from synaptic.session import Session
from synaptic.settings import Settings
from synaptic.web.listen import listen
from synaptic.web.security import LOOPBACK, guard, hosts_of

pytestmark = pytest.mark.anyio


class Elsewhere:
    """A face that would listen wherever it is told to."""

    url: str | None = None

    async def start(self, *, host: str, port: int) -> str:
        self.url = f"http://{host}:{port}"
        return f"{self.url}/#token=t"

    async def close(self) -> None:
        self.url = None


@pytest.fixture
def session(tmp_path: Path) -> Session:
    environment = Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path), "PATH": ""}, sys.stdin, sys.stdout, sys.stderr)
    made = Session(environment, Settings.load(tmp_path / "settings.json", {}))
    made.faces = {"dashboard": Elsewhere()}
    return made


async def said(session: Session, line: str) -> Note:
    note = await load().parse_line(line).run(session)
    assert isinstance(note, Note)
    return note


async def test_another_address_comes_with_a_warning_and_this_machine_without(session: Session) -> None:
    note = await said(session, "dashboard --host 192.168.1.5")
    assert note.text == "dashboard: http://192.168.1.5:8080/#token=t"
    assert note.hint == "warning: other machines can reach it, nothing is encrypted, and whoever has the token can run commands here"
    assert note.holds
    assert not (await said(session, "dashboard")).holds  # it is on already, and stays as it is
    assert (await said(session, "dashboard off")).text == "dashboard off"
    assert (await said(session, "dashboard --host 127.0.0.2")).hint is None
    await session.close()
    assert session.faces["dashboard"].url is None


async def test_a_program_without_one_says_so(session: Session) -> None:
    session.faces = {}
    with pytest.raises(SynapticError, match="no dashboard in this program"):
        await said(session, "dashboard")
    await session.close()


async def test_only_addresses_and_the_machines_own_name_are_answered() -> None:
    app = web.Application(middlewares=[guard(hosts_of("192.168.1.5"), "secret", {"/"})])

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="here")

    for path in ("/", "/metrics"):
        app.router.add_get(path, answer)
    here = await listen(app, "127.0.0.1", 0)
    told = {"Authorization": "Bearer secret"}
    async with aiohttp.ClientSession() as http:

        async def status(path: str, host: str, **headers: str) -> int:
            async with http.get(here.url + path, headers={"Host": f"{host}:{here.port}", **headers}) as response:
                return response.status

        assert await status("/", "192.168.1.5") == 200
        assert await status("/", "[fd00::1]") == 200  # an address as it stands cannot be rebound
        assert await status("/", socket.gethostname().upper()) == 200
        assert await status("/", "rebound.example") == 421
        assert await status("/metrics", "192.168.1.5") == 401
        assert await status("/metrics", "192.168.1.5", **told) == 200
    await here.close()


@pytest.mark.parametrize(
    ("bind", "more"),
    [("127.0.0.1", []), ("localhost", []), ("::1", []), ("127.0.0.2", ["127.0.0.2"]), ("0:0:0:0:0:0:0:1", ["[0:0:0:0:0:0:0:1]"])],
)
def test_one_for_this_machine_alone_goes_by_no_other_name(bind: str, more: list[str]) -> None:
    assert set(hosts_of(bind)) == {*LOOPBACK, *more}


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.168.1.5", "box.example"])
def test_one_for_others_too_is_known_as_such(bind: str) -> None:
    assert {bind, f"{socket.gethostname().lower()}.local"} <= set(hosts_of(bind.upper()))


async def test_on_port_80_a_browser_leaves_the_port_out() -> None:
    try:
        here = await listen(web.Application(middlewares=[guard(LOOPBACK, None)]), "127.0.80.80", 80, tries=1)
    except SynapticError:
        pytest.skip("port 80 is not for this user")
    async with aiohttp.ClientSession() as http:
        for host, status in {
            "127.0.0.1": 404,
            "[::1]": 404,
            "[::1]:80": 404,
            "localhost:80": 404,
            "localhost:81": 421,
            "evil.example": 421,
        }.items():
            async with http.get(here.url, headers={"Host": host}) as response:
                assert response.status == status, host
    await here.close()
