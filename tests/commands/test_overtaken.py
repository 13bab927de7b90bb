from __future__ import annotations

import pytest

from synaptic.commands import load
from synaptic.commands.reading import read
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("ollama pull llama3.1:405b", "model pull"),
        ("curl http://192.168.1.10:50052/health", "rpc check"),
        ("./rpc-server --host 0.0.0.0 --port 50052 --mem 2048", "worker start"),
        ("./dllama inference --model m.m", "dllama root"),
        ("cluster control cmd", "cluster exec"),
        ("worker start --mem 2048", "lends what its device has free"),
        ("worker start --mem=2048", "lends what its device has free"),
        ("worker start --cont 2", "did you mean: --count"),
        ("rpc lst", "did you mean: rpc list"),
    ],
)
def test_what_older_guides_say_to_type_leads_to_what_does_it_here(typed: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load().parse_words(typed.split())
    assert hint in f"{caught.value.hint}"


def test_every_command_that_a_hint_names_is_one() -> None:
    from synaptic.commands.overtaken import LINES

    registry = load()
    named = [hint.partition("try: ")[2] for _, hint in LINES]
    assert [hint for hint in named if registry.find(hint.replace(",", " ").split()) is None] == []


def test_a_url_is_no_workers_address_and_the_address_in_it_is_offered() -> None:
    with pytest.raises(UsageError) as caught:
        Endpoint.parse("http://192.168.1.10:50052/health")
    assert caught.value.hint == "write host:port, such as 192.168.1.10:50052"


@pytest.mark.parametrize(
    ("line", "hint", "prefill"),
    [
        ("ollama pull llama3.1:405b", "model pull", "ask ollama pull llama3.1:405b"),
        ("./rpc-server --host 0.0.0.0 --mem 2048", "worker start", "ask ./rpc-server --host 0.0.0.0 --mem 2048"),
        ("curl http://10.0.0.1:50052/health", "rpc check", "ask curl http://10.0.0.1:50052/health"),
        ("export LLAMA_RPC_BACKENDS=10.0.0.1", "rpc add", "ask export LLAMA_RPC_BACKENDS=10.0.0.1"),
        ("python3 main.py --distributed", "flags are for the start", None),
        ("synaptic", "try: help", None),
        ("synaptic rpc add 10.0.0.1", "try: rpc add 10.0.0.1", "rpc add 10.0.0.1"),
        ("python main.py status", "try: status", "status"),
    ],
)
def test_a_line_for_another_shell_is_not_sent_to_a_model_before_enter_is_pressed_again(line: str, hint: str, prefill: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        read(load(), line)
    assert hint in f"{caught.value.hint}"
    assert caught.value.prefill == prefill


@pytest.mark.parametrize(
    "line",
    ["curl up with a book", "export restrictions, what are they?", "synaptic plasticity", "llama-server is what?", "rpc-server or dllama?"],
)
def test_a_question_that_only_begins_like_a_program_is_a_question(line: str) -> None:
    assert read(load(), line).positional == (line,)


def test_a_prompt_that_was_copied_along_is_no_part_of_the_line() -> None:
    call = read(load(), "SynapticLlamas> rpc add 10.0.0.1")
    assert (call.command.name, call.positional) == ("rpc add", (Endpoint("10.0.0.1", 50052),))
