from __future__ import annotations

import pytest

from synaptic.arguments import Arguments
from synaptic.errors import UsageError


def test_no_words_mean_the_shell() -> None:
    assert Arguments.parse([]) == Arguments()


def test_the_originals_flags_are_read() -> None:
    words = [
        "-d",
        "--enable-distributed-inference",
        "--rpc-backend",
        "a:1",
        "--rpc-backend=b",
        "-m",
        "demo",
        "-i",
        "hello",
        "-w",
        "3",
        "--metrics",
    ]
    assert Arguments.parse([*words, "--dask", "--dask-scheduler", "x:1", "--add-node", "u", "--add-node", "v"]) == Arguments(
        distributed=True,
        enable_distributed_inference=True,
        rpc_backend=("a:1", "b"),
        model="demo",
        input="hello",
        workers="3",
        metrics=True,
        dask=True,
        dask_scheduler="x:1",
        add_node=("u", "v"),
    )


def test_our_own_flags_stand_anywhere_and_the_rest_is_the_commands() -> None:
    assert Arguments.parse(["rpc", "list", "--json"]) == Arguments(command=("rpc", "list"), json=True)
    assert Arguments.parse(["--json", "rpc", "list", "--watch"]) == Arguments(command=("rpc", "list", "--watch"), json=True)
    assert Arguments.parse(["ask", "-m", "demo", "hi"]) == Arguments(command=("ask", "-m", "demo", "hi"))


def test_after_two_dashes_nothing_is_a_flag() -> None:
    assert Arguments.parse(["ask", "--", "--json"]) == Arguments(command=("ask", "--", "--json"))
    assert Arguments.parse(["-i", "-h"]) == Arguments(input="-h")


@pytest.mark.parametrize("words", [["--nonsense"], ["-m"], ["-m", "--json"], ["--config"], ["ask", "a\0b"]])
def test_what_is_wrong_is_said(words: list[str]) -> None:
    with pytest.raises(UsageError, match="no such flag|needs a value|NUL"):
        Arguments.parse(words)
