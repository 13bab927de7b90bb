"""The servers in the settings: whatever stands there, nothing of it gets lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synaptic.errors import UsageError
from synaptic.settings import Settings
from synaptic.settings.nodes import NodeEntry, add, nodes_in, remove

A, B = "http://10.0.0.5:11434", "http://10.0.0.6:11434"


def test_the_originals_entries_are_read() -> None:
    entries, bad = nodes_in([{"url": "http://10.0.0.5:11434", "name": "attic", "priority": 2}, "10.0.0.6", {"url": A}])
    assert entries == (NodeEntry(A, "attic", 2), NodeEntry(B))
    assert bad == []


@pytest.mark.parametrize("entry", [None, 7, {}, {"url": 7}, {"url": "file:///x"}, {"url": "http://me:sesame@host"}, [A]])
def test_what_is_no_server_is_skipped_with_a_sentence_without_its_password(entry: object) -> None:
    entries, bad = nodes_in([entry, A])
    assert entries == (NodeEntry(A),)
    assert len(bad) == 1
    assert "sesame" not in bad[0]


def test_values_of_the_wrong_kind_are_left_out() -> None:
    entries, bad = nodes_in([{"url": A, "name": 7, "priority": True, "kind": "gopher", "key_env": "not a name"}])
    assert (entries, bad) == ((NodeEntry(A),), [])


def test_adding_and_removing_keeps_what_nobody_here_knows() -> None:
    document = {"nodes": [{"url": f"{A}/", "gpu": True}, {"odd": 1}], "other": 1}
    assert add(document, [NodeEntry(A, "attic"), NodeEntry(B, kind="ollama"), NodeEntry(B)]) == [NodeEntry(B)]
    assert document == {"nodes": [{"url": A, "gpu": True, "name": "attic"}, {"odd": 1}, {"url": B, "kind": "ollama"}], "other": 1}
    assert remove(document, [A, "http://other:1"]) == [A]
    assert document == {"nodes": [{"odd": 1}, {"url": B, "kind": "ollama"}], "other": 1}


def test_the_settings_hold_them_and_the_file_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"nodes": [{"url": A, "colour": "green"}, {"url": "file:///x"}], "unknown": [1]}))
    settings = Settings.load(path, {})
    assert settings.now.nodes == (NodeEntry(A),)
    settings.edit(lambda document: add(document, [NodeEntry(B, priority=3)]) and None)
    assert Settings.load(path, {}).now.nodes == (NodeEntry(A), NodeEntry(B, priority=3))
    assert json.loads(path.read_text()) == {
        "nodes": [{"url": A, "colour": "green"}, {"url": "file:///x"}, {"url": B, "priority": 3}],
        "unknown": [1],
    }


def test_they_can_be_typed(tmp_path: Path) -> None:
    settings = Settings.load(tmp_path / "s.json", {})
    settings.save(nodes=settings.parse("nodes", "10.0.0.5, 10.0.0.6"))
    assert [entry.url for entry in settings.now.nodes] == [A, B]
    with pytest.raises(UsageError, match="nodes is a list of URLs"):
        settings.parse("nodes", "file:///x")
