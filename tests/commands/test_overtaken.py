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
        ("./dllama inference --model m.m --workers 10.0.0.2:9999 10.0.0.3:9999", "dllama add HOST:PORT for each of its --workers"),
        ("python -m worker --host 10.0.0.2 --port 9999 --model m.m", "dllama worker --host"),
        ("python airllm/examples/parse_header.py m.m", "model show FILE.m"),
        ("pip install -r distributed-llama.python/requirements.txt", "engine install builtin"),
        ("curl http://10.0.0.31:8000/v1/chat/completions", "nodes add URL"),
        ("cluster control cmd", "cluster exec control"),
        ("sudo systemctl start llama-rpc", "deploy status"),
        ("bd show beefcake2-lhr0", "deploy status"),
        ("ansible-playbook -i out/inventory.yml out/site.yml", "deploy apply DIR"),
        ("vllm serve mistral", "deploy render"),
        ("coordinator start demo --parallel 3", "config set parallel N"),
        ("coordinator start demo --ctx-size 8192", "config set context N"),
        ("tune parallel --parallel 3", "--try 1,3"),
        ("tune ctx --ctx-size 8192", "--try 4096,8192"),
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
        ("/usr/local/bin/llama-cluster-monitor 5", "deploy status", "ask /usr/local/bin/llama-cluster-monitor 5"),
        ("systemctl status llama-head", "deploy status", "ask systemctl status llama-head"),
        ("journalctl -u llama-head", "cluster exec MACHINE", "ask journalctl -u llama-head"),
        ("nohup ./rpc-server &", "worker start", "ask nohup ./rpc-server &"),
        ("bd ready", "deploy status", "ask bd ready"),
        ("python -m worker --port 9999", "dllama worker", "ask python -m worker --port 9999"),
        ("python3 examples/parse_header.py m.m", "model show", "ask python3 examples/parse_header.py m.m"),
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
    ("line", "meant"),
    [
        ("stauts", "status"),
        ("hlep", "help"),
        ("Status", "status"),
        ("models list", "model list"),
        ("Worker start --count 2", "worker start --count 2"),
        ("prc add 10.0.0.1", "rpc add 10.0.0.1"),
    ],
)
def test_a_command_but_for_a_letter_is_not_sent_to_a_model_before_it_is_said_to_be_for_one(line: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(load(), line)
    assert caught.value.hint == f"did you mean: {meant}   for the model: ask {line}"
    assert caught.value.prefill == meant
    assert read(load(), f"ask {line}").positional == (line,)


@pytest.mark.parametrize(
    "line",
    [
        "Hello",
        "thanks!",
        "Explain quantum computing",
        "works list of a poet",
        "list all planets",
        "curl up with a book",
        "export restrictions, what are they?",
        "synaptic plasticity",
        "llama-server is what?",
        "rpc-server or dllama?",
        "systemctl or nohup?",
    ],
)
def test_a_question_that_only_begins_like_a_program_is_a_question(line: str) -> None:
    assert read(load(), line).positional == (line,)


def test_a_prompt_that_was_copied_along_is_no_part_of_the_line() -> None:
    call = read(load(), "SynapticLlamas> rpc add 10.0.0.1")
    assert (call.command.name, call.positional) == ("rpc add", (Endpoint("10.0.0.1", 50052),))
