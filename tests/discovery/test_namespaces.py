"""Real interfaces, routes and neighbours, in network namespaces that the tests make."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from namespaces import ENTER, in_namespaces

FAKES = Path(__file__).parents[1] / "fakes"
pytestmark = in_namespaces


@pytest.fixture
def discover_in(discover):
    """Runs `rpc discover` in a namespace of its own, set up by lines of shell. Nothing outside it can be reached from there."""

    def start(*words: str, setup: str = "true"):
        within = (*ENTER, "sh", "-ec", f'{setup}\nexec "$@"', "sh")
        return discover("rpc", "discover", *words, within=within, SYNAPTIC_TEST_NAMESPACE="1")

    return start


def test_without_an_interface_there_is_no_usable_network(discover_in):
    done = discover_in()
    assert done.code == 3
    assert "no usable network: no interface is up with an IPv4 address" in done.err


def test_with_every_interface_down_a_named_network_cannot_be_used(discover_in):
    done = discover_in("--subnet", "127.0.7.0/24")
    assert done.code == 3
    assert "no usable network: this machine has no route to 127.0.7.0/24" in done.err


def test_only_this_machine_is_said_so(discover_in):
    done = discover_in(setup="ip link set lo up")
    assert (done.code, "1 address in" in done.out) == (0, True)
    assert "this machine is in no network that could be looked through" in done.err


def test_routes_that_refuse_are_named(discover_in):
    setup = """
        ip link set lo up
        ip route add prohibit 10.77.1.0/30; ip route add unreachable 10.77.2.0/30; ip route add blackhole 10.77.3.0/30"""
    done = discover_in("--subnet", "10.77.1.0/30,10.77.2.0/30,10.77.3.0/30,127.0.7.1", "--yes", "--json", setup=setup)
    (sentence,) = [note for note in done.json["notes"] if note.startswith("blocked")]
    assert "(a route or firewall rule of it prohibits that)" in sentence
    assert sentence.count("2 like 10.77.") == 3
    assert "a route of it says unreachable" in sentence
    assert "a route of it is a black hole" in sentence
    assert [network["blocked"] for network in done.json["networks"]] == [2, 2, 2, 0]


INTERFACES = """
    ip link set lo up
    add() { ip link add "$1" type veth peer name "p$1"; ip address add "$2" dev "$1"; ip link set "$1" up; ip link set "p$1" up; }
    add lan0 10.77.0.1/29; add docker0 172.17.0.1/29; add br-1 172.18.0.1/29; add small 10.77.1.0/31; add one 10.77.2.1/32
    ip link add down0 type veth peer name pdown0; ip address add 10.77.3.1/29 dev down0"""


def test_only_real_networks_are_looked_through(discover_in):
    document = discover_in("--json", setup=INTERFACES).json
    assert {network["network"] for network in document["networks"]} == {"127.0.0.1", "10.77.0.0/29", "10.77.1.0/31", "10.77.2.1"}
    assert "left out: br-1, docker0 (--all-interfaces looks there too)" in document["notes"]


def test_all_interfaces_are_looked_through_on_request(discover_in):
    document = discover_in("--json", "--all-interfaces", setup=INTERFACES).json
    networks = {network["network"] for network in document["networks"]}
    assert networks >= {"10.77.0.0/29", "172.17.0.0/29", "172.18.0.0/29"}
    assert "10.77.3.0/29" not in networks


def test_another_machine_is_found_and_not_disturbed(discover_in):
    """Two machines and a cable: workers on one, the look around on the other; half of its network is dead."""
    population = f"{sys.executable} {FAKES / 'population.py'} --first 10.77.0.2 --port 50052 good busy silent"
    setup = f"""
        ip link set lo up
        ip link add lan0 type veth peer name lan1
        mkfifo "$HOME/there" "$HOME/end"
        unshare --net sh -c 'echo up > "$HOME/there"; read go < "$HOME/end"; ip link set lo up; ip link set lan1 up
            for last in 2 3 4; do ip address add 10.77.0.$last/26 dev lan1; done
            (read end < "$HOME/end"; echo end) | {population} > "$HOME/told"' &
        other=$!; read up < "$HOME/there"
        ip link set lan1 netns $other; ip address add 10.77.0.1/26 dev lan0; ip link set lan0 up
        echo go > "$HOME/end"
        until grep -qs ready "$HOME/told"; do :; done"""
    done = discover_in("--json", "--timeout", "5", setup=setup)
    assert [each["endpoint"] for each in done.json["found"]] == ["10.77.0.2:50052"]
    assert {other["endpoint"]: other["reason"] for other in done.json["others"]} == {
        "10.77.0.3:50052": "silent",
        "10.77.0.4:50052": "silent",
    }
    (network,) = [network for network in done.json["networks"] if network["network"] == "10.77.0.0/26"]
    assert (network["hosts"], network["up"], network["silent"]) == (62, 4, 58)


SILENT = """
    ip link set lo up; ip link add lan0 type veth peer name lan1
    ip address add 10.77.0.1/20 dev lan0; ip link set lan0 up; ip link set lan1 up"""
GATED = """
from synaptic.discovery.sweep import *
from synaptic.discovery.targets import *
from synaptic.discovery.limits import *
targets = named_networks(Subnets.parse("10.77.0.0/20"), [])
most = []
def progressed(done):
    most.append(neighbours())
    if done > 450:
        sweep.stop()
sweep = Sweep(in_random_order(numbers(targets.areas), [50052]), of_this_machine(targets.size), print, progressed)
sweep.run()
print(max(most))
"""


def test_a_large_silent_network_leaves_half_of_the_table_of_neighbours_free(own_home):
    command = [*ENTER, "sh", "-ec", f'{SILENT}\nexec "$@"', "sh", sys.executable, "-c", GATED]
    environment = os.environ | {"SYNAPTIC_TEST_NAMESPACE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=FAKES.parents[1], env=environment, check=False)
    assert done.stderr == ""
    assert 400 < int(done.stdout) <= 512
