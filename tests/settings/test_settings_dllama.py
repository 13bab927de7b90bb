"""The dllama workers in the settings: whatever stands there, nothing of it gets lost."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.settings import Settings
from synaptic.settings.dllama import add, remove

A, B = Endpoint("10.0.0.1", 9999), Endpoint("10.0.0.2", 9998)


def test_the_port_of_the_documents_is_meant_where_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(
        '{"dllama_backends": [{"host": "10.0.0.1"}, "10.0.0.2:9998", {"host": "::1", "port": "9990"}, {"host": 7}, "10.0.0.1"]}'
    )
    settings = Settings.load(path, {})
    assert settings.now.dllama_backends == (A, B, Endpoint("::1", 9990))
    assert settings.parse("dllama_backends", "10.0.0.1, 10.0.0.2:9998") == (A, B)


def test_adding_and_removing_keeps_what_nobody_here_knows() -> None:
    document = {"dllama_backends": [{"host": "10.0.0.1", "gpu": True}, {"odd": 1}], "other": 1}
    assert add(document, [A, B, B]) == [B]
    assert document == {"dllama_backends": [{"host": "10.0.0.1", "gpu": True}, {"odd": 1}, {"host": "10.0.0.2", "port": 9998}], "other": 1}
    assert remove(document, [A, Endpoint("other", 1)]) == [A]
    assert document["dllama_backends"] == [{"odd": 1}, {"host": "10.0.0.2", "port": 9998}]
    assert add(document, [B]) == []


def test_a_list_that_is_none_is_named_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"dllama_backends": {"odd": 1}}')
    settings = Settings.load(path, {})
    assert settings.now.dllama_backends == ()
    assert any("dllama_backends is a list of host:port" in warning for warning in settings.warnings)
    settings.edit(lambda document: add(document, [A]) and None)
    assert json.loads(path.read_text())["dllama_backends"] == [{"odd": 1}, {"host": "10.0.0.1", "port": 9999}]


@pytest.mark.parametrize("writers", [4])
def test_writers_at_the_same_time_lose_nothing(tmp_path: Path, writers: int) -> None:
    path = tmp_path / "settings.json"

    def write(number: int) -> None:
        settings = Settings.load(path, {})
        for port in range(1, 11):
            endpoint = Endpoint(f"10.0.0.{number}", port)
            settings.edit(lambda document, endpoint=endpoint: add(document, [endpoint]) and None)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Settings.load(path, {}).now.dllama_backends) == 10 * writers
