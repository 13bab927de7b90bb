"""A pulled cable, for real: interfaces of a network namespace. See scripts/bench_relay.py, whose other half this is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from namespaces import in_namespaces

pytestmark = [pytest.mark.live, in_namespaces]
ENTER = ("unshare", "--user", "--map-root-user", "--net", "--mount")


@pytest.mark.parametrize("does", ["rests", "asks"])
def test_a_pulled_cable_is_noticed_and_the_worker_named(llama_server: Path, ggml_rpc_server: Path, does: str) -> None:
    words = [*ENTER, sys.executable, str(REPOSITORY / "scripts" / "bench_relay.py"), "--inside", "on", does]
    variables = os.environ | {"PYTHONPATH": ""}  # no guard in there, nor a way out
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=variables, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["noticed"], "not within the bound, which is many times `relay_seconds`"
    assert found["cause"] == "worker 10.77.9.2:50052 gave no sign of life: is its cable pulled?"
