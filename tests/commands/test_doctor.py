from __future__ import annotations

import io
from pathlib import Path

import pytest

from synaptic.commands import load
from synaptic.commands.doctor import exposed
from synaptic.endpoint import Endpoint
from synaptic.environment import Environment
from synaptic.results import Rows
from synaptic.session import Session
from synaptic.settings import Settings


@pytest.mark.parametrize("worker", ["8.8.8.8:50052", "1.1.1.1:9999"])
def test_a_worker_at_a_public_address_is_a_failure_with_a_way_out(worker: str) -> None:
    (check,) = exposed([Endpoint.parse(worker)])
    assert (check.mark, check.what) == ("✗", worker)
    assert "has no key" in check.detail
    assert "--relay-tls" in check.fix


def test_workers_of_this_machine_and_of_private_networks_are_not() -> None:
    assert list(exposed(map(Endpoint.parse, ["127.0.0.1", "192.168.1.10", "10.0.0.5", "[fd00::1]:50052", "node1"]))) == []


@pytest.mark.anyio
async def test_a_home_that_takes_nothing_is_said_once_and_with_a_way_out(tmp_path: Path) -> None:
    home, settings_file = Path("/proc"), tmp_path / "a file" / "settings.json"  # no byte is free there, and no folder can be here
    settings_file.parent.write_text("no folder")
    environment = Environment({"SYNAPTICLLAMAS_HOME": str(home), "PATH": ""}, *(io.StringIO() for _ in range(3)))
    session = Session(environment, Settings.load(settings_file, {}))
    try:
        looked = await load().parse_line("doctor").run(session)
    finally:
        await session.close()
    assert isinstance(looked, Rows)
    (settings,) = [check for check in looked.items if check.what == "settings"]
    assert (settings.mark, settings.detail) == ("✗", f"{settings_file} cannot be written: changes last until you leave")
    assert "SYNAPTICLLAMAS_HOME" in settings.fix
    (disk,) = [check for check in looked.items if check.what == "disk"]
    assert (disk.mark, disk.detail) == ("✗", "0 B free at /proc: nothing can be started or saved there")


@pytest.mark.anyio
async def test_a_port_that_our_own_dashboard_holds_is_no_trouble(tmp_path: Path) -> None:
    environment = Environment({"SYNAPTICLLAMAS_HOME": str(tmp_path), "PATH": ""}, *(io.StringIO() for _ in range(3)))
    session = Session(environment, Settings.load(tmp_path / "settings.json", {}))
    session.faces["dashboard"] = Shown()
    try:
        looked = await load().parse_line("doctor").run(session)
    finally:
        await session.close()
    assert isinstance(looked, Rows)
    (port,) = [check for check in looked.items if check.what == "port 8080"]
    assert (port.mark, port.detail) == ("✓", "held by the dashboard of this shell")


class Shown:
    """A dashboard that listens where every dashboard would like to."""

    url = "http://127.0.0.1:8080"

    async def start(self, *, host: str, port: int) -> str:
        return self.url

    async def close(self) -> None:
        pass
