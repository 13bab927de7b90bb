"""A command's signature is its grammar; what people type becomes its arguments."""

from __future__ import annotations

from typing import Annotated

import pytest

from synaptic.commands.grammar import AnyNumber, Choice, Complete, Rest, Text
from synaptic.commands.registry import Registry
from synaptic.endpoint import Endpoint
from synaptic.errors import UsageError
from synaptic.results import Note


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    @registry.command("rpc add", group="workers")
    async def add(session: object, *endpoint: Endpoint, timeout: float = 2.0) -> Note:
        """Use rpc-server workers at these addresses. The default port is 50052.

        rpc add 192.168.1.10
        """
        return Note(f"{list(map(str, endpoint))} {timeout}")

    @registry.command("rpc list", group="workers", aliases=("ls",))
    async def list_(session: object, *, watch: bool = False) -> Note:
        """List them."""
        return Note(str(watch))

    @registry.command("rpc remove", group="workers")
    async def remove(
        session: object, *endpoint: Annotated[Endpoint, AnyNumber(), Complete(lambda session: [("a", "b")])], all: bool = False
    ) -> Note:
        """Forget them."""
        return Note(f"{len(endpoint)} {all}")

    @registry.command("distributed", group="models")
    async def distributed(session: object, switch: Annotated[str, Choice("on", "off")], size: int | None = None) -> Note:
        """Spread models."""
        return Note(f"{switch} {size}")

    @registry.command("ask", group="answers")
    async def ask(session: object, text: Annotated[str, Text()], *, model: str | None = None, fresh: bool = False) -> Note:
        """Send a prompt."""
        return Note(f"{text}|{model}|{fresh}")

    @registry.command("cluster exec", group="deploy")
    async def exec_(session: object, *node: str, command: Annotated[tuple[str, ...], Rest()] = (), within: float = 1.0) -> Note:
        """Run it there."""
        return Note(f"{list(node)} {list(command)} {within}")

    @registry.command("deploy render", group="deploy")
    async def render(
        session: object, profile: str, *, out: str, target: Annotated[str, Choice("systemd", "ansible")] = "systemd", port: int = 1
    ) -> Note:
        """Write it."""
        return Note(f"{profile} {out} {target} {port}")

    return registry


async def answer(registry: Registry, line: str) -> str:
    result = await registry.parse_line(line).run(None)
    assert isinstance(result, Note)
    return result.text


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rpc add 10.0.0.1 b:7", "['10.0.0.1:50052', 'b:7'] 2.0"),
        ("  /rpc add a --timeout 5", "['a:50052'] 5.0"),
        ("rpc add --timeout=0.5 a", "['a:50052'] 0.5"),
        ("rpc list", "False"),
        ("ls --watch", "True"),
        ("rpc remove", "0 False"),
        ("rpc remove a --all", "1 True"),
        ("distributed on", "on None"),
        ("distributed off 3", "off 3"),
        ("ask what's up?", "what's up?|None|False"),
        ('ask say "hello"  twice --model x', 'say "hello"  twice --model x|None|False'),
        ("ask --model demo --fresh -h is a flag of what?", "-h is a flag of what?|demo|True"),
        ("ask -m demo hi", "hi|demo|False"),
    ],
)
async def test_a_line_becomes_a_call(registry: Registry, line: str, expected: str) -> None:
    assert await answer(registry, line) == expected


@pytest.mark.anyio
async def test_words_from_argv_may_put_flags_after_the_text(registry: Registry) -> None:
    result = await registry.parse_words(["ask", "What is a worker?", "--model", "demo", "--what"]).run(None)
    assert isinstance(result, Note)
    assert result.text == "What is a worker? --what|demo|False"
    result = await registry.parse_words(["ask", "--", "--model"]).run(None)
    assert isinstance(result, Note)
    assert result.text == "--model|None|False"


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("rpc ad x", "unknown command: rpc ad", "did you mean: rpc add"),
        ("rpc", "rpc needs a verb: add, list, remove", "try: help rpc"),
        ("rpc add", "rpc add needs <endpoint>…", "usage: rpc add <endpoint>… [--timeout <seconds>]"),
        ("rpc add x --tiemout 3", "rpc add has no flag --tiemout", "did you mean: --timeout"),
        ("rpc add x --timeout", "--timeout needs a value", "usage: "),
        ("rpc add x --timeout soon", '--timeout: "soon" is not a number', "usage: "),
        ("rpc add host:abc", "not a port: abc in host:abc", "a port is a number"),
        ("rpc list now", 'rpc list takes no "now"', "usage: rpc list [--watch]"),
        ("distributed onn", 'distributed takes on or off, not "onn"', "did you mean: distributed on"),
        ("distributed on three", 'size: "three" is not a whole number', "usage: "),
        ("ask", "ask needs <text>", "usage: ask"),
        (
            "deploy render x",
            "deploy render needs --out <folder>",
            "usage: deploy render <profile> --out <folder> [flags]; see: help deploy render",
        ),
        ("deploy render x --out y --target ansibel", '--target takes systemd or ansible, not "ansibel"', "did you mean: --target ansible"),
        ("deploy render x --out y --port 70000", "--port is 0 to 65535, not 70000", "usage: "),
    ],
)
def test_what_does_not_parse_says_why_and_what_next(registry: Registry, line: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.parse_line(line)
    assert str(caught.value) == message
    assert hint in str(caught.value.hint)
    assert caught.value.prefill == (f"{line} " if " needs " in message else f"ask {line}"), "what is unfinished is given back"


def test_a_line_is_a_command_iff_its_first_word_is_one(registry: Registry) -> None:
    assert registry.is_command("rpc list")
    assert registry.is_command("/ls")
    assert registry.is_command("ask me anything")
    assert not registry.is_command("rpcs are interesting")
    assert not registry.is_command("Explain rpc list")
    assert not registry.is_command("   ")


def test_usage_and_help_come_from_the_signature(registry: Registry) -> None:
    command = registry.named("rpc add")
    assert command
    assert command.usage == "rpc add <endpoint>… [--timeout <seconds>]"
    assert command.summary == "Use rpc-server workers at these addresses. The default port is 50052."
    assert command.details == "rpc add 192.168.1.10"
    distributed = registry.named("distributed")
    assert distributed
    assert distributed.usage == "distributed on|off [<size>]"


def test_foreign_words_in_an_error_are_harmless(registry: Registry) -> None:
    with pytest.raises(UsageError) as caught:
        registry.parse_line("rpc \x1b]52;c;AAAA\x07")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("cluster exec a b --within 3 -- df -h", "['a', 'b'] ['df', '-h'] 3.0"),
        ("cluster exec a -- ls --within 9 -- 'x  y'", "['a'] ['ls', '--within', '9', '--', 'x  y'] 1.0"),
        ("cluster exec a", "['a'] [] 1.0"),
    ],
)
@pytest.mark.anyio
async def test_what_follows_two_dashes_is_not_read(registry: Registry, line: str, said: str) -> None:
    result = await registry.parse_line(line).run(None)
    assert isinstance(result, Note)
    assert result.text == said
    command = registry.named("cluster exec")
    assert command
    assert command.usage == "cluster exec <node>… [--within <seconds>] -- <command>…"
