"""Networks of a test's own. Nothing outside them can be reached from there."""

from __future__ import annotations

import shutil
import subprocess

import pytest

ENTER = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child")


def can_enter() -> bool:
    if not shutil.which("unshare") or not shutil.which("ip"):
        return False
    tried = subprocess.run(
        [*ENTER, "sh", "-c", "ip link set lo up && ip link add here type veth peer name there"], capture_output=True, check=False
    )
    return tried.returncode == 0


in_namespaces = pytest.mark.skipif(not can_enter(), reason="no network namespace can be made here (needs unshare, ip and user namespaces)")
