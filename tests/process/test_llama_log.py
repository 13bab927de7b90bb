from __future__ import annotations

import pytest

from synaptic.process.llama_log import explain, is_final, is_routine


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("/src/ggml-rpc.cpp:123: Failed to connect to 127.0.0.1:50222", "worker 127.0.0.1:50222 does not answer"),
        ("E Cannot resolve host 'nosuch.invalid'", "the name nosuch.invalid does not resolve"),
        ("/src/ggml-rpc.cpp:99: Remote RPC server crashed or returned malformed response", "a worker was lost"),
        ("E RPC server version mismatch: 8.0.0", "a worker speaks protocol 8.0.0"),
        ("error loading model: unknown model architecture: 'fancy'", "does not know the architecture fancy"),
        ("tensor 'token_embd.weight' data is not within the file bounds, model is corrupted or incomplete", "the model file is incomplete"),
        ("E srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18087", "port 18087 is taken"),
        ("error: invalid argument: --no-ui", "does not know --no-ui"),
        ("Failed to create server socket", "its port is taken"),
    ],
)
def test_the_engines_own_words_become_a_cause(line: str, cause: str) -> None:
    assert cause in str(explain(["something before", line, "and a line after that tells nothing"]))


def test_the_newest_telling_line_wins() -> None:
    assert explain(["error loading model: a", "error loading model: b"]) == "b"


def test_silence_is_not_explained() -> None:
    assert explain([]) is None
    assert explain(["all is well"]) is None


def test_foreign_words_in_a_cause_are_harmless() -> None:
    assert explain(["error loading model: \x1b]52;c;AA\x07"]) == "^[]52;c;AA^G"


@pytest.mark.parametrize(
    "line",
    [
        "E RPC server version mismatch: 8.0.0",
        "llama_model_load: error loading model: tensor 'x' data is not within the file bounds",
        "error: invalid argument: --new",
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 1",
    ],
)
def test_what_a_retry_cannot_cure_is_known(line: str) -> None:
    assert is_final(["loading", line, "exiting"])


@pytest.mark.parametrize(
    "line", ["ggml-rpc.cpp:1: Failed to connect to 127.0.0.1:1", "Remote RPC server crashed or returned malformed response", ""]
)
def test_a_worker_may_come_back(line: str) -> None:
    assert not is_final(["loading", line])


@pytest.mark.parametrize(
    ("line", "is_heard"),
    [
        (b"0.04.129.116 I slot get_availabl: id  0 | task -1 | selected slot by LCP similarity, f_sim_best = 0.263\n", False),
        (b"0.04.129.272 I srv        update:    - prompt 0x562a6d77b650:      15 tokens, checkpoints:  0,     0.004 MiB\n", False),
        (b"\trepeat_last_n = 64, repeat_penalty = 1.000, frequency_penalty = 0.000, presence_penalty = 0.000\n", False),
        (b"0.04.129.349 I slot   operator(): id  0 | task 134 | new prompt, n_ctx_slot = 512, n_keep = 0\n", False),
        (b"0.04.162.144 I slot print_timing: id  0 | task 134 |        eval time =      32.17 ms /   128 tokens\n", True),
        (b"0.04.162.144 E srv        update: something is wrong\n", True),
        (b"0.01.022.123 I srv    load_model: loading model 'm.gguf'\n", True),
        (b"0.01.022.123 I load_tensors: RPC0[127.0.0.1:50211] model buffer size =     0.80 MiB\n", True),
    ],
)
def test_what_is_said_at_every_answer_stays_in_the_log(line: bytes, is_heard: bool) -> None:
    assert is_routine(line) is not is_heard
