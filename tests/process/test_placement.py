from __future__ import annotations

from synaptic.process.placement import HERE, MIB, PlacementReader, Share

# llama-server b11434 on the demo model over two workers, -lv 4
LOG = """\
0.00.031.021 I load_tensors: offloading output layer to GPU
0.00.031.076 I load_tensors: offloaded 5/5 layers to GPU
0.00.031.097 I load_tensors:   CPU_Mapped model buffer size =     0.38 MiB
0.00.031.112 I load_tensors: RPC0[127.0.0.1:50211] model buffer size =     0.80 MiB
0.00.031.126 I load_tensors: RPC0[127.0.0.1:50212] model buffer size =     0.37 MiB
0.00.033.653 I llama_kv_cache: RPC0[127.0.0.1:50211] KV buffer size =     0.75 MiB
0.00.034.329 I llama_kv_cache: RPC0[127.0.0.1:50212] KV buffer size =     0.25 MiB
0.00.034.387 I llama_kv_cache: size =    1.00 MiB (   512 cells,   4 layers,  1/1 seqs), K (f16):    0.50 MiB, V (f16):    0.50 MiB
0.00.037.672 I sched_reserve: RPC0[127.0.0.1:50211] compute buffer size =     7.29 MiB
0.00.037.697 I sched_reserve: RPC0[127.0.0.1:50212] compute buffer size =     5.54 MiB
0.00.037.711 I sched_reserve:        CPU compute buffer size =     4.55 MiB
"""


def read(log: str) -> PlacementReader:
    reader = PlacementReader()
    for line in log.splitlines():
        reader.feed(line)
    return reader


def mib(size: float) -> int:
    return round(size * MIB)


def test_it_reads_who_holds_what() -> None:
    reader = read(LOG)
    assert reader.offloaded == (5, 5)
    assert reader.shares() == (
        Share("127.0.0.1:50211", mib(0.80), mib(0.75), mib(7.29), 3),
        Share("127.0.0.1:50212", mib(0.37), mib(0.25), mib(5.54), 1),
        Share(HERE, mib(0.38), 0, mib(4.55), 0),
    )


def test_a_dry_run_before_the_real_one_counts_for_nothing() -> None:
    dry = LOG.replace("0.80 MiB", "0.00 MiB").replace("0.37 MiB", "0.00 MiB")
    assert read(dry + LOG).shares() == read(LOG).shares()


def test_two_devices_of_one_worker_are_added_up() -> None:
    log = LOG.replace("RPC0[127.0.0.1:50212]", "RPC1[127.0.0.1:50211]")
    assert read(log).shares()[0] == Share("127.0.0.1:50211", mib(0.80) + mib(0.37), mib(0.75) + mib(0.25), mib(7.29) + mib(5.54), 4)


def test_a_model_with_two_caches_counts_the_layers_of_both() -> None:
    caches = "\n".join(line for line in LOG.splitlines() if "llama_kv_cache" in line)
    assert [share.layers for share in read(LOG + caches).shares()] == [6, 2, 0]


def test_lines_of_no_interest_and_foreign_noise_are_passed_over() -> None:
    noise = "size = MiB ( cells\n\x1b[2J model buffer size = x MiB\n" + "]" * 5000 + "\nRPC0[ model buffer size = 1 MiB"
    assert all(share.model_bytes in (0, MIB) for share in read(noise).shares())
