"""A model that is bigger than its memory, read from its file layer by layer."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from dllama.synthetic import KINDS, write_model

from synaptic.dllama.graph import GraphError
from synaptic.dllama.layers import LayerRoot
from synaptic.dllama.local import LayerCache, needs
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.pressure import give_back, is_short
from synaptic.dllama.running import Cached, nobody
from synaptic.dllama.runs import Run
from synaptic.dllama.spreading import Spreading
from synaptic.dllama.to_worker import CalledOffError, CallOff

TEXT = [(7 * number) % 700 for number in range(80)]  # more than two batches


@pytest.fixture(params=KINDS)
def file(request, tmp_path):
    return ModelFile(write_model(tmp_path / f"{request.param}.m", request.param, layers=7))


def opened(file, memory, tell=nobody, call_off=None):
    running = LayerCache(file, memory)
    running.open(call_off or CallOff(), tell)
    return running


def go_on(running):
    """Until something is raised."""
    for _ in range(10_000):
        running.feed(TEXT, 0)


@pytest.mark.parametrize("room", range(6))
def test_it_computes_what_a_model_in_memory_computes(file, room):
    """With an even and an odd number of layers that take turns, and with none that stays."""
    whole = LayerRoot(file, [Run(None, 0, 7)])
    whole.open(CallOff(), nobody)
    expected = [whole.feed(TEXT[:-1], 0).copy(), whole.feed(TEXT[-1:], len(TEXT) - 1).copy()]
    whole.close()
    needed = needs(file.header)
    facts = []
    running = opened(file, needed.least + room * needed.layer, facts.append)
    assert running.pinned == (room if room < 5 else 7)
    placed = facts[-1]
    assert (placed.nodes[0].last, placed.turns) == (running.pinned, 7 - running.pinned)
    assert placed.nodes[0].weights <= needed.least + room * needed.layer
    for _ in range(2):
        assert (running.feed(TEXT[:-1], 0) == expected[0]).all()
        assert (running.feed(TEXT[-1:], len(TEXT) - 1) == expected[1]).all()
    running.close()


def test_a_long_prompt_reads_each_layer_once(file):
    facts = []
    running = opened(file, needs(file.header).least + needs(file.header).layer, facts.append)
    running.feed(TEXT, 0)
    running.feed(TEXT[:1], len(TEXT))
    running.close()
    passes = [fact for fact in facts if isinstance(fact, Cached)]
    assert [(each.layers, each.hits) for each in passes] == [(7, 1), (7, 1)]
    stored = 7 * file.header.bytes_per_layer
    assert sum(each.read for each in passes) <= (6 + 6 + 2) / 7 * stored  # those of two passes, and two that are read ahead


def test_a_machine_that_runs_short_gets_layers_back(file):
    """One with each pass, and what is computed stays the same."""
    facts, is_short = [], [False, True, True, False, True, True, True]
    needed = needs(file.header)
    running = LayerCache(file, needed.least + 3 * needed.layer, is_short=lambda: is_short.pop(0))
    running.open(CallOff(), facts.append)
    expected = running.feed(TEXT, 0).copy()
    while is_short and running.pinned:
        assert (running.feed(TEXT, 0) == expected).all()
    assert running.pinned == 0
    assert (running.feed(TEXT, 0) == expected).all()
    running.close()
    assert [each.hits for each in facts if isinstance(each, Cached)] == [3, 2, 1, 1, 0, 0]


@pytest.mark.parametrize(("available", "short"), [(60_000, True), (40_000, True), (900_000, False), (None, False)])
def test_short_is_less_than_a_twentieth(available, short, tmp_path):
    told = tmp_path / "meminfo"
    if available:
        told.write_text(f"MemTotal:        2000000 kB\nMemFree:          10000 kB\nMemAvailable:   {available:>8} kB\n")
    assert is_short(told) is short


def test_memory_that_is_given_back_is_zeros_again():
    array = np.ones(4 << 20, np.uint8)
    give_back(array)
    assert 0 <= int(array.sum()) <= 2 * mmap.PAGESIZE


def test_the_budget_decides(file):
    needed = needs(file.header)
    assert isinstance(Spreading(memory=needed.whole - 1).running(file), LayerCache)
    assert isinstance(Spreading(memory=needed.whole).running(file), LayerRoot)
    assert isinstance(Spreading().running(file), LayerRoot)
    with pytest.raises(GraphError, match="MiB even when read layer by layer, and is allowed"):
        LayerCache(file, needed.least - 1)


def test_a_pass_that_is_called_off_leaves_it_usable(file):
    """Also in the middle of the circle of layers."""
    call_off = CallOff()
    running = opened(file, needs(file.header).least, call_off=call_off)
    expected = running.feed(TEXT, 0).copy()
    for delay in (0, 0.001, 0.002, 0.004):
        timer = threading.Timer(delay, call_off.set)
        timer.start()
        with pytest.raises(CalledOffError):
            go_on(running)
        timer.join()
        call_off.clear()
        assert (running.feed(TEXT, 0) == expected).all()
    running.close()


def test_a_file_that_shrinks_is_an_error(tmp_path):
    path = write_model(tmp_path / "llama.m")
    file = ModelFile(path)
    running = opened(file, needs(file.header).least)
    running.feed([1], 0)
    embedding = file.tensors[0]
    os.truncate(path, embedding.offset + embedding.bytes)  # which stays mapped: only layers are read
    with pytest.raises(OSError, match="became shorter"):
        go_on(running)
    running.close()


GROWTH = """
import json, sys, threading
from pathlib import Path
from synaptic.dllama.layers import LayerRoot
from synaptic.dllama.local import LayerCache, needs
from synaptic.dllama.model_file import ModelFile
from synaptic.dllama.running import nobody
from synaptic.dllama.runs import Run
from synaptic.dllama.to_worker import CallOff

def resident():
    words = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return 1024 * int(words["VmHWM"].split()[0])

small, large, share = ModelFile(Path(sys.argv[1])), ModelFile(Path(sys.argv[2])), float(sys.argv[3])
warm = LayerCache(small, needs(small.header).least)
warm.open(CallOff(), nobody)
warm.feed(list(range(70)), 0)
warm.feed([1], 70)
warm.close()
Path("/proc/self/clear_refs").write_text("5")
before = resident()
budget = int(needs(large.header).whole * share)
running = LayerCache(large, budget)
running.open(CallOff(), nobody)
running.feed([each % 700 for each in range(240)], 0)
for position in range(240, 244):
    running.feed([1], position)
running.close()
print(json.dumps({"grown": resident() - before, "budget": budget, "file": large.header.file_bytes, "pinned": running.pinned}))
"""


@pytest.mark.parametrize("share", [0.45, 0.7])
def test_the_budget_is_held(share, tmp_path):
    """Measured by the kernel, in a program of its own, over what it has with the engine loaded."""
    small = write_model(tmp_path / "small.m")
    large = write_model(tmp_path / "large.m", dim=512, hidden=2048, layers=40, heads=16, kv_heads=4)
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, small, large, str(share)],
        stdout=subprocess.PIPE,
        check=True,
        timeout=50,
        cwd=Path(__file__).parents[2],
    )
    told = json.loads(done.stdout)
    assert told["file"] > 80e6
    assert told["pinned"] > 1
    assert told["grown"] <= told["budget"], told
