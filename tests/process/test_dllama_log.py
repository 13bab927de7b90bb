"""What dllama-api's last words mean; the lines are the program's own."""

from __future__ import annotations

import pytest

from synaptic.process.dllama_log import explain, has_no_port, is_reconnecting, step_of

REACHING = ["📀 RequiredMemory: 2 MB", "⭕ Socket[0]: connecting to 127.0.77.1:31001 worker"]
CONNECTED = [*REACHING, "⭕ Socket[0]: connected"]
LOADED = [*CONNECTED, "⭕ Network is initialized", "🧠 CPU: avx2", "💿 Loading weights...", "💿 Weights loaded"]


@pytest.mark.parametrize(
    ("lines", "meaning"),
    [
        (REACHING, "worker 127.0.77.1:31001 does not take the connection, or says nothing: it may be held by another root"),
        (CONNECTED, "a worker took the connection and says nothing, or the workers do not reach each other"),
        (LOADED[:-1], "a worker takes no weights any more"),
        (LOADED, None),
        (
            [*REACHING, "Cannot connect to 127.0.77.1:31001 (Connection refused)"],
            "worker 127.0.77.1:31001 refuses: busy with a root, or down",
        ),
        (["Cannot resolve target nosuch.invalid (Name or service not known)"], "the name nosuch.invalid does not resolve"),
        ([*LOADED, "🚨 Inference error: Execution failed in one of the threads"], "a worker was lost"),
        ([*LOADED, "  what():  Cannot bind port: Address already in use"], "its port is taken"),
        (["  what():  This configuration supports max 2 threads"], "this machine has 2 threads: config set threads 2"),
        (["  what():  Missing bytes in weight file: 1012296"], "the model file is not as long as its header says"),
        (["  what():  Invalid tokenizer file"], "the tokenizer file is none, or too old"),
        (["📄 AddBos: 1"], None),
        ([], None),
    ],
)
def test_the_newest_telling_line_counts(lines, meaning):
    assert explain(lines) == meaning


def test_steps_of_a_start():
    assert step_of(REACHING[1]) == "reaching worker 127.0.77.1:31001"
    assert step_of("💿 Loading weights...") == "sending weights"
    assert step_of("🧠 CPU: avx2 avx512f") is None


def test_signs():
    assert is_reconnecting("🔄 Retrying in 3 seconds...")
    assert has_no_port(["a", "  what():  Cannot bind port: Address already in use"])
    assert not has_no_port(LOADED)
