"""Four layers make one value; what nobody understands is kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.settings import Settings
from synaptic.settings.keys import KINDS
from synaptic.settings.nodes import NodeEntry
from synaptic.settings.values import Layer, Values

A, B, C = Endpoint("a", 1), Endpoint("b", 50052), Endpoint("c", 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".synapticllamas.json"


def load(path: Path | None, text: str | None = None, **variables: str) -> Settings:
    if text is not None and path:
        path.write_text(text)
    return Settings.load(path, variables)


def saved(path: Path) -> object:
    return json.loads(path.read_text())


def test_every_value_has_a_kind_and_every_default_fits_it() -> None:
    assert [field.name for field in dataclasses.fields(Values)] == list(KINDS)
    for entry in load(None).rows():
        assert entry.layer is Layer.DEFAULT
        assert entry.value is None or KINDS[entry.key].accept(entry.value) == getattr(Values(), entry.key)


# layers


def test_a_flag_beats_the_file_and_the_file_beats_the_default(path: Path) -> None:
    path.write_text('{"model": "file", "context": 4096}')
    settings = Settings.load(path, {}, {"model": "flag", "seed": None})
    assert (settings.now.model, settings.now.context, settings.now.start_seconds) == ("flag", 4096, 60.0)
    assert [settings.layer(key) for key in ("model", "context", "seed")] == [Layer.FLAG, Layer.FILE, Layer.DEFAULT]
    assert {entry.key: entry.note for entry in settings.rows()}["model"] == 'file: "file"'


def test_workers_come_from_all_layers_each_once_and_only_the_files_are_saved(path: Path) -> None:
    path.write_text('{"rpc_backends": [{"host": "c", "port": 3}, {"host": "a", "port": 1}]}')
    settings = Settings.load(path, {"LLAMA_RPC_BACKENDS": "b,a:1"}, {"rpc_backends": [A]})
    assert settings.now.rpc_backends == (A, B, C)
    assert settings.layer("rpc_backends") is Layer.FLAG
    assert {entry.key: entry.note for entry in settings.rows()}["rpc_backends"] == "1 from flag, 2 from env, 2 from file"
    settings.save(model="m")
    assert saved(path) == {"rpc_backends": [{"host": "c", "port": 3}, {"host": "a", "port": 1}], "model": "m"}


def test_each_bad_worker_in_the_environment_is_named_and_the_good_ones_are_used() -> None:
    settings = load(None, LLAMA_RPC_BACKENDS="a:1, b ,,a:1,:5,-x:1,[::1]:50052,ü.example:1\n")
    assert settings.now.rpc_backends == (A, B, Endpoint("::1", 50052))
    assert settings.layer("rpc_backends") is Layer.ENVIRONMENT
    said = [warning for warning in settings.warnings if warning.startswith("LLAMA_RPC_BACKENDS: ")]
    assert len(said) == 3
    for bad in (":5", "-x:1", "ü.example:1"):
        assert any(bad in warning for warning in said)


def test_what_is_saved_in_this_run_counts_over_the_flag_it_began_with(path: Path) -> None:
    settings = Settings.load(path, {}, {"model": "flag"})
    settings.save(model="later")
    assert (settings.now.model, settings.layer("model")) == ("later", Layer.FILE)


def test_what_counts_for_this_run_only_is_not_saved(path: Path) -> None:
    settings = load(path, '{"threads": 2}')
    settings.for_now(distributed_inference_enabled=True)
    settings.save(threads=3)
    assert (settings.now.distributed_inference_enabled, settings.layer("distributed_inference_enabled")) == (True, Layer.FLAG)
    assert saved(path) == {"threads": 3}


def test_a_flag_that_cannot_be_is_refused(path: Path) -> None:
    with pytest.raises(UsageError, match="mode is one of"):
        Settings.load(path, {}, {"mode": "sideways"})


def test_without_a_home_settings_live_in_memory_and_say_so_once() -> None:
    settings = load(None)
    settings.save(threads=2)
    settings.add_backends([A])
    settings.reset("threads")
    assert settings.now == Values(rpc_backends=(A,))
    assert len(settings.warnings) == 1
    assert (settings.is_saved, settings.backup) == (False, None)


# what the file says


def test_the_originals_switch_counts_where_its_new_name_is_absent(path: Path) -> None:
    assert load(path, '{"model_sharding_enabled": true}').now.distributed_inference_enabled
    assert not load(path, '{"model_sharding_enabled": true, "distributed_inference_enabled": false}').now.distributed_inference_enabled
    assert not load(path, '{"model_sharding_enabled": "yes"}').now.distributed_inference_enabled


def test_forgetting_the_switch_forgets_its_old_name_too(path: Path) -> None:
    settings = load(path, '{"model_sharding_enabled": true}')
    settings.reset("distributed_inference_enabled")
    assert not settings.now.distributed_inference_enabled
    assert saved(path) == {}


def test_unknown_keys_and_the_order_survive_every_change(path: Path) -> None:
    text = """{
  "version": 99,
  "rpc_backends": [
    {
      "note": "rack 2 \\"ü\\"",
      "host": "a",
      "port": 1,
      "gpu": {
        "vram": 24.5
      }
    },
    "c:3"
  ],
  "future": [
    null,
    12345678901234567890,
    {}
  ],
  "model": "x",
  "synthesis_model": null
}
"""
    settings = load(path, text)
    assert settings.warnings == []
    settings.add_backends([B])
    settings.save(model="y", threads=3)
    settings.save(model="x", threads=None)
    assert settings.remove_backends([B]) == [B]
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("entry", "endpoint"),
    [
        ({"host": "a", "port": 1}, A),
        ({"host": "b"}, B),
        ({"host": "b", "port": "50052"}, B),  # digits in quotes are what was meant
        ({"host": "::1", "port": 1}, Endpoint("::1", 1)),
        ("c:3", C),
        *(
            (bad, None)
            for bad in (
                *({"host": "a", "port": port} for port in (70000, 0, -1, 1.5, 1.0, True, None, [], "x", "")),
                *({"host": host, "port": 1} for host in ("a\x1b[2J", "a b", " a", "-x", "", "a:1", "ü", None, 7, True, ["a"])),
                *({}, [], None, 7, True, "a:70000", "-x", "", "a b"),
            )
        ),
    ],
    ids=repr,
)
def test_a_worker_in_the_file_is_understood_or_skipped_with_a_warning_and_kept(
    path: Path, entry: object, endpoint: Endpoint | None
) -> None:
    settings = load(path, json.dumps({"rpc_backends": [entry, {"host": "d", "port": 4}]}))
    assert settings.now.rpc_backends == tuple(each for each in (endpoint, Endpoint("d", 4)) if each)
    assert len(settings.warnings) == (0 if endpoint else 1)
    assert not any("\x1b" in warning for warning in settings.warnings)
    settings.add_backends([B, C])
    settings.remove_backends([Endpoint("d", 4)])
    entries = json.loads(path.read_text())["rpc_backends"]
    assert entries[0] == entry
    assert {"host": "d", "port": 4} not in entries


@pytest.mark.parametrize(
    ("value", "endpoints", "warnings"), [({"host": "a", "port": 1}, (A,), 0), ("a:1", (A,), 0), (7, (), 1), (None, (), 0)]
)
def test_something_else_than_a_list_of_workers_is_not_lost(
    path: Path, value: object, endpoints: tuple[Endpoint, ...], warnings: int
) -> None:
    settings = load(path, json.dumps({"rpc_backends": value}))
    assert (settings.now.rpc_backends, len(settings.warnings)) == (endpoints, warnings)
    settings.add_backends([B])
    assert saved(path) == {"rpc_backends": [*([value] if value else []), {"host": "b", "port": 50052}]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("distributed_inference_enabled", "maybe"),
        ("distributed_inference_enabled", 1),
        ("model", 3),
        ("model", ""),
        ("mode", "sideways"),
        ("mode", []),
        ("threads", True),
        ("threads", 0),
        ("threads", 1.5),
        ("context", 10**30),
        ("temperature", -1),
        ("temperature", "hot"),
        ("stall_seconds", 0),
        ("models_dirs", "x"),
        ("models_dirs", ["relative"]),
        ("system_prompt", {"a": 1}),
    ],
)
def test_a_wrong_value_is_named_not_used_and_kept(path: Path, key: str, value: object) -> None:
    settings = load(path, json.dumps({key: value}))
    assert settings.now == Values()
    assert settings.layer(key) is Layer.DEFAULT
    assert [warning for warning in settings.warnings if f"{key} is " in warning] == settings.warnings
    assert len(settings.warnings) == 1
    settings.add_backends([A])
    assert saved(path) == {key: value, "rpc_backends": [{"host": "a", "port": 1}]}


def test_null_means_unset(path: Path) -> None:
    settings = load(path, json.dumps(dict.fromkeys(KINDS)))
    assert (settings.now, settings.warnings) == (Values(), [])


def test_a_home_in_a_folder_is_understood(path: Path, own_home: Path) -> None:
    assert load(path, '{"models_dirs": ["~/models", "/m"]}').now.models_dirs == (own_home / "models", Path("/m"))


# changes


def test_true_and_1_are_different_values(path: Path) -> None:
    path.write_text('{"flockparser_enabled": 1}')
    load(path).save(flockparser_enabled=True)
    assert "true" in path.read_text()


def test_every_value_can_be_saved_and_read_again(path: Path, tmp_path: Path) -> None:
    values = Values(
        mode="dask",
        distributed_inference_enabled=True,
        rpc_backends=(A, B),
        nodes=(NodeEntry("http://10.0.0.5:11434", "attic", 2, "ollama", "KEY"), NodeEntry("https://models.example.org:443")),
        model="m",
        via="ollama",
        refinement_rounds=0,
        synthesis_model="s",
        strategy="multi",
        agent_timeout=30,
        collaborative_mode=True,
        flockparser_enabled=True,
        models_dirs=(tmp_path,),
        context=16,
        threads=1,
        temperature=0.5,
        seed=0,
        max_tokens=7,
        system_prompt="be brief\nplease",
        stall_seconds=0.5,
        start_seconds=3600.0,
        announce=True,
    )
    settings = load(path)
    settings.save(**{field.name: getattr(values, field.name) for field in dataclasses.fields(values)})
    assert settings.now == values
    assert load(path).now == values


def test_a_save_takes_over_what_another_program_saved(path: Path) -> None:
    ours, theirs = load(path), load(path)
    theirs.save(model="theirs")
    ours.save(threads=2)
    assert (ours.now.model, ours.now.threads) == ("theirs", 2)


def test_adding_tells_what_is_new_and_removing_what_was_there(path: Path) -> None:
    settings = load(path, LLAMA_RPC_BACKENDS="c:3")
    assert settings.add_backends([A, B, A]) == [A, B]
    assert settings.add_backends([B]) == []
    assert settings.remove_backends([A, C, Endpoint("x", 1)]) == [A, C]
    assert settings.now.rpc_backends == (B,)
    assert saved(path) == {"rpc_backends": [{"host": "b", "port": 50052}]}


def test_a_worker_that_another_program_added_can_be_removed(path: Path) -> None:
    ours = load(path)
    load(path).add_backends([A])
    assert ours.remove_backends([A]) == [A]
    assert saved(path) == {"rpc_backends": []}


def test_forgetting_everything_leaves_what_nobody_here_knows_and_a_backup(path: Path) -> None:
    settings = load(path, '{"future": 1, "model": "x", "rpc_backends": ["a:1"], "threads": "bad"}')
    settings.reset()
    assert (settings.now, saved(path)) == (Values(), {"future": 1})
    assert settings.backup
    assert json.loads(settings.backup.read_text())["model"] == "x"


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.save(temprature="x"),
        lambda s: s.reset("temprature"),
        lambda s: s.parse("temprature", "x"),
        lambda s: s.layer("temprature"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(path: Path, change: object) -> None:
    settings = load(path)
    assert callable(change)
    with pytest.raises(UsageError, match="unknown setting: temprature") as caught:
        change(settings)
    assert caught.value.hint == "did you mean: temperature"
    assert not path.exists()
