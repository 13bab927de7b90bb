from __future__ import annotations

import pytest

from synaptic.errors import EngineError, UsageError
from synaptic.models.address import Address, all_parts, is_url, next_hop, shown


def test_the_file_is_called_as_at_its_address() -> None:
    found = Address.parse("https://h.example:8443/a/b/My%20Model.GGUF?download=true#top")
    assert found == Address("https://h.example:8443/a/b/My%20Model.GGUF?download=true", "My Model.GGUF")


@pytest.mark.parametrize(
    "text",
    [
        *("ftp://h/m.gguf", "file:///m.gguf", "https:///m.gguf", "https://h", "https://h/m.bin", "https://h/.gguf"),
        *("https://h/..%2fm.gguf", "https://h/a%00.gguf", "https://h/a%1b[2J.gguf", "https://[::1/m.gguf", "https://h:0/m.gguf"),
        *(f"https://h/{'a' * 300}.gguf", "https://u:p@h/m.gguf", "https://h/x%5cy.gguf", "https://h/\u202em.gguf"),
    ],
)
def test_what_is_no_address_of_a_model(text: str) -> None:
    with pytest.raises(UsageError):
        Address.parse(text)


def test_a_name_is_no_address() -> None:
    assert not is_url("hf.co/org/repo:Q4_K_M")
    assert not is_url("llama3.2:3b")
    assert is_url("ftp://h/m.gguf")


def test_any_part_names_the_whole_model() -> None:
    parts = all_parts(Address.parse("https://h/d/m-00002-of-00003.gguf?x=1"))
    assert [part.file for part in parts] == [f"m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert parts[2].url == "https://h/d/m-00003-of-00003.gguf?x=1"
    single = Address.parse("https://h/m.gguf")
    assert all_parts(single) == [single]


@pytest.mark.parametrize("file", ["m-00004-of-00003.gguf", "m-00000-of-00003.gguf", "m-00001-of-99999.gguf", "m-0000%31-of-00002.gguf"])
def test_parts_that_cannot_be(file: str) -> None:
    with pytest.raises(UsageError):
        all_parts(Address.parse(f"https://h/{file}"))


def test_a_redirection_stays_on_the_web_and_encrypted() -> None:
    assert next_hop("https://h/a/m.gguf", "../b/m.gguf?k=1") == "https://h/b/m.gguf?k=1"
    assert next_hop("http://h/m.gguf", "https://other/m") == "https://other/m"
    with pytest.raises(EngineError, match="from https to http"):
        next_hop("https://h/m.gguf", "http://h/m.gguf")
    for location in ("file:///etc/passwd", "ftp://h/m", "http://[::1/"):
        with pytest.raises(EngineError, match="which is no web address"):
            next_hop("https://h/m.gguf", location)


def test_what_is_shown_holds_no_secret() -> None:
    assert shown("https://h/m.gguf?token=secret") == "https://h/m.gguf"
