"""The pages of help: every command, every flag, and where to look next."""

from __future__ import annotations

from synaptic.commands import load
from synaptic.commands.shell import NAMES, describe, details, overview
from synaptic.terminal import wrapped

NARROW = 80  # columns


def test_every_command_stands_in_a_group_of_the_help() -> None:
    commands = list(load())
    text = overview()
    assert [command.name for command in commands if f"\n  {command.name} " not in text] == []
    lines = wrapped(text, NARROW).splitlines()
    assert max(map(len, lines)) <= NARROW
    assert all(line.startswith(" " * NAMES) for line in lines if line.startswith("   ")), "what goes on hangs below its beginning"


def test_a_noun_is_helped_by_its_verbs_also_where_it_is_an_alias_of_one() -> None:
    load()
    assert [line.split("  ")[0] for line in describe(["nodes"]).text.splitlines()][:2] == ["nodes list", "nodes add"]
    assert describe(["ls"]).text.startswith("rpc list ")


def test_every_flag_says_what_it_means() -> None:
    assert [(command.name, name) for command in load() for name, flag in command.flags.items() if not flag.meaning] == [], "see flags.py"


def test_every_page_leads_on_to_commands_that_exist() -> None:
    registry = load()
    for command in registry:
        *_, last = command.details.split("\n\n")
        assert last.startswith("See also: "), command.name
        assert [name for name in last.removeprefix("See also: ").split(", ") if not registry.named(name)] == [], command.name


def test_a_page_shows_the_flags_before_the_examples_each_with_its_value_and_its_default() -> None:
    command = load().named("worker start")
    assert command
    assert command.usage == "worker start [flags]"
    page = details(command)
    assert "\n    --count <n>               how many workers (default: 1)\n" in page
    assert "\n    --engine llama.cpp|builtin  " not in page, "long choices stand in the sentence"
    assert page.index("--count <n>") < page.index("    worker start --count 2")
    assert page.count("\n    worker start\n") == 1


def test_a_page_is_readable_in_a_narrow_window() -> None:
    for command in load():
        lines = wrapped(details(command), 60).splitlines()
        assert [line for line in lines if len(line) > 60 and " " in line.strip()] == [], command.name
