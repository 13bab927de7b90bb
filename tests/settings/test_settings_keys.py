"""What a person types for a setting becomes its value, or a sentence about what could."""

from __future__ import annotations

from pathlib import Path

import pytest

from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.settings.keys import read


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("distributed_inference_enabled", "On", True),
        ("distributed_inference_enabled", "false", False),
        ("threads", " 8 ", 8),
        ("temperature", "0.7", 0.7),
        ("temperature", "none", None),
        ("model", "llama3.1:405b", "llama3.1:405b"),
        ("model", "default", None),
        ("mode", "dask", "dask"),
        ("rpc_backends", "a:1, b,a:1", (Endpoint("a", 1), Endpoint("b", 50052))),
        ("models_dirs", "/m:/n", (Path("/m"), Path("/n"))),
        ("system_prompt", "  two  words ", "  two  words "),
    ],
)
def test_typed_text_becomes_a_value(key: str, text: str, value: object) -> None:
    assert read(key, text) == value


def test_a_typed_folder_becomes_absolute(own_home: Path) -> None:
    assert read("models_dirs", "~/m:here") == (own_home / "m", Path.cwd() / "here")


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("distributed_inference_enabled", "maybe", 'on or off, not "maybe"'),
        ("threads", "many", "a whole number from 1 to"),
        ("threads", "0", "a whole number from 1 to"),
        ("temperature", "nan", "a number from 0 to 5"),
        ("temperature", "1e999", "a number from 0 to 5"),
        ("seed", "9" * 5000, "a whole number"),
        ("mode", "sideways", "one of standard"),
        ("rpc_backends", "a:1,b:99999", "a list of host:port"),
        ("model", "a\0b", "the name of a model"),
    ],
)
def test_typed_text_that_cannot_be_says_what_could(key: str, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"{key} is {says}") as caught:
        read(key, text)
    assert caught.value.hint
