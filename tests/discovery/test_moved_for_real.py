"""Two machines and a cable: one gets another address between two looks around, and one is out of every network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from namespaces import ENTER, in_namespaces

FAKES = Path(__file__).parents[1] / "fakes"
MOVED = "10.77.0.2:50052 is probably 10.77.0.3:50052 now (same network card)"


pytestmark = in_namespaces


@pytest.fixture
def with_a_neighbour(discover):
    """Runs a command in a namespace joined by a cable to another one, where a worker listens on every address.

    `there` are lines of shell for the other machine, each run when the line `next` of `here` is; `here` come before the command.
    """

    def start(*words: str, there: str, here: str = "", address: str = "10.77.0.1/29"):
        worker = f"{sys.executable} {FAKES / 'rpcfake.py'} --host 0.0.0.0 --port 50052"
        steps = "\n".join(f'read step < "$HOME/steps"; {line.strip()}; echo done > "$HOME/done"' for line in there.splitlines())
        setup = f"""
            mkfifo "$HOME/steps" "$HOME/done" "$HOME/lines"
            next() {{ echo go > "$HOME/steps"; read answer < "$HOME/done"; }}
            ip link set lo up; ip link add lan0 type veth peer name lan1
            unshare --net sh -ec 'echo up > "$HOME/done"; read step < "$HOME/steps"; ip link set lo up; ip link set lan1 up
                {worker} > "$HOME/told" & until grep -qs port "$HOME/told"; do :; done; echo done > "$HOME/done"
                {steps}
                read end < "$HOME/steps"' &
            other=$!; read up < "$HOME/done"
            ip link set lan1 netns $other; ip address add {address} dev lan0; ip link set lan0 up
            next
            {here}"""
        within = (*ENTER, "sh", "-ec", f'{setup}\nexec "$@"', "sh")
        return discover(*words, within=within, SYNAPTIC_TEST_NAMESPACE="1")

    return start


# a look around left the kernel asking for the address in vain; it would ask again only after a second
FORGET = "ip neighbour delete 10.77.0.3 dev lan0 || true"
MOVES = """ip address add 10.77.0.2/29 dev lan1
    ip address del 10.77.0.2/29 dev lan1; ip address add 10.77.0.3/29 dev lan1"""


def test_a_worker_that_moved_is_proposed_and_nothing_is_changed(with_a_neighbour, own_home):
    done = with_a_neighbour("rpc", "discover", "--json", there=MOVES, here=f'next; "$@" > "$HOME/first"; next; {FORGET}')
    assert json.loads((own_home / "first").read_text())["moved"] == []
    document = done.json
    assert [each["endpoint"] for each in document["found"]] == ["10.77.0.3:50052"]
    (move,) = document["moved"]
    assert (move["old"], move["new"], move["why"]) == ("10.77.0.2:50052", "10.77.0.3:50052", "same network card")
    saved = json.loads((own_home / ".synapticllamas.json").read_text())["rpc_backends"]
    assert [(each["host"], each["source"]) for each in saved] == [("10.77.0.2", "scan"), ("10.77.0.3", "scan")]
    assert saved[0]["mac"] == saved[1]["mac"]


def test_every_command_that_asks_the_workers_says_it(with_a_neighbour, own_home):
    here = f"""next; "$@" > /dev/null; next; {FORGET}
        "$1" "$2" rpc add 10.77.0.3 > "$HOME/added"; "$@" > "$HOME/found"; "$1" "$2" rpc list > "$HOME/listed" 2>&1"""
    done = with_a_neighbour("rpc", "discover", there=MOVES, here=here)
    sentence = f"{MOVED}   try: rpc remove 10.77.0.2:50052\n"
    for name in ("added", "found"):
        assert f"  {sentence}" in (own_home / name).read_text()
    listed = (own_home / "listed").read_text()
    assert sentence in listed
    assert "probably 10.77.0.3:50052 now (same network card)" in listed.replace(sentence, "")
    assert "scan" in listed
    assert sentence in done.out


def test_an_address_outside_our_networks_is_used_only_with_yes(with_a_neighbour, own_home):
    here = f"""next; ip route add 10.88.0.2 dev lan0
        {sys.executable} {FAKES / "consulfake.py"} --port 8500 --service llama-rpc=10.88.0.2:50052 <> "$HOME/lines" > "$HOME/consul" &
        until grep -qs port "$HOME/consul"; do :; done; export CONSUL_HTTP_ADDR=127.0.0.1:8500
        "$@" > "$HOME/first"; ip route del 10.88.0.2; "$@" --yes > "$HOME/blocked"; ip route add 10.88.0.2 dev lan0; set -- "$@" --yes"""
    there = "ip address add 10.88.0.2/32 dev lan1; ip route add 10.77.0.1 dev lan1"
    done = with_a_neighbour("rpc", "discover", "--json", there=there, here=here)
    first = json.loads((own_home / "first").read_text())
    outside = "10.88.0.2:50052 (consul): it is outside this machine's networks"
    assert first["found"] == []
    assert f"not looked at: {outside} (--yes looks there too)" in first["notes"]
    blocked = json.loads((own_home / "blocked").read_text())
    assert "blocked by this machine: 1 like 10.88.0.2 (it has no route there)" in blocked["notes"]
    assert [(each["endpoint"], each["source"], each["added"]) for each in done.json["found"]] == [("10.88.0.2:50052", "consul", True)]
    assert not any(outside in note for note in done.json["notes"])
