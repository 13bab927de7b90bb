"""rpc list and rpc check: what only shows when workers are seen side by side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from synaptic.commands.rpc import differences

MAIN = Path(__file__).parents[2] / "main.py"


def test_one_protocol_everywhere_is_not_worth_a_word():
    assert differences({}, "7.0.0") is None
    assert differences({"a:1": "7.0.0", "b:1": "7.0.0"}, "7.0.0") is None


def test_protocols_that_differ_are_named_with_what_mends_them():
    said = differences({"a:1": "7.0.0", "b:1": "6.1.0", "c:1": "6.1.0"}, "7.0.0")
    assert (
        said == "protocols differ: here 7.0.0, b:1, c:1 6.1.0, a:1 7.0.0; use one release of llama.cpp everywhere: engine install llama.cpp"
    )
    assert "6.1.0" in (differences({"a:1": "6.1.0"}, "7.0.0") or "")
    assert "w2:1 and 2 more 6.1.0" in (differences({f"w{n}:1": "6.1.0" for n in range(5)}, "7.0.0") or "")


def test_one_machine_by_two_addresses_is_shown(free_port):
    listed = subprocess.run(
        [sys.executable, str(MAIN), "rpc", "list", "--json"],
        env=os.environ | {"LLAMA_RPC_BACKENDS": f"localhost:{free_port},127.0.0.1:{free_port}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    details = {each["endpoint"]: each["detail"] for each in json.loads(listed.stdout)["backends"]}
    assert "same machine" not in details[f"localhost:{free_port}"]
    assert details[f"127.0.0.1:{free_port}"].endswith(f"; same machine and port as localhost:{free_port}")
