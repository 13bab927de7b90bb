"""
Answers under fire: prompt after prompt over real workers, while workers are killed, frozen and unplugged at random.

    scripts/soak.py [--prompts 200] [--minutes 30] [--seed 1]      needs LLAMA_SERVER and GGML_RPC_SERVER

Every prompt must end in its full text, or in an error that names something. Prints how long it took until the loss
was named and until the answer went on, and what is left behind afterwards. Exit code 1 when something is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import psutil  # noqa: E402
from cabled import Cabled, World, freeze, kill, unplug  # noqa: E402
from conftest import Worker  # noqa: E402

from synaptic.endpoint import Endpoint  # noqa: E402
from synaptic.engines.answer import Reply  # noqa: E402
from synaptic.engines.engine import Message  # noqa: E402
from synaptic.errors import SynapticError  # noqa: E402
from synaptic.process.workers import free_port, listens  # noqa: E402

QUESTIONS = ("What is a worker?", "What is a coordinator?", "What is a token?")
HARMS = {"killed": kill, "frozen": freeze, "unplugged": unplug}
WORKERS = 3


class Soak:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.world = World(folder, [], Path(os.environ["LLAMA_SERVER"]))
        self.undisturbed: dict[str, str] = {}
        self.ended = {"whole": 0, "went on": 0, "named error": 0, "wrong": 0}
        self.named: dict[str, list[float]] = {harm: [] for harm in HARMS}  # seconds from the harm until it had a name
        self.again: dict[str, list[float]] = {harm: [] for harm in HARMS}  # and until the next token, loading included

    async def run(self, prompts: int, seconds: float) -> None:
        await self.mend()
        for question in QUESTIONS:
            self.undisturbed[question] = (await self.ask(question, None))[0]
        began = time.monotonic()
        for number in range(prompts):
            if time.monotonic() - began > seconds:
                break
            harm = self.random.choice([None, *HARMS])
            await self.judge(self.random.choice(QUESTIONS), harm)
            await self.mend()
            if number % 20 == 19:
                print(f"{number + 1} prompts, {time.monotonic() - began:.0f} s: {self.ended}", flush=True)

    async def judge(self, question: str, harm: str | None) -> None:
        try:
            text, failovers, error = await self.ask(question, harm)
        except SynapticError as nothing:
            text, failovers, error = "", 0, nothing
        whole = self.undisturbed[question]
        if text == whole and not error:
            self.ended["went on" if failovers else "whole"] += 1
        elif error and str(error) and whole.startswith(text):
            self.ended["named error"] += 1
        else:
            self.ended["wrong"] += 1
            print(f"wrong: {question!r} {harm}: {text!r} {error}", flush=True)

    async def ask(self, question: str, harm: str | None) -> tuple[str, int, SynapticError | None]:
        route = await self.world.answering.route("demo")
        reply = Reply(self.world.answering, route, (Message("user", question),), lambda text, complete: None)
        after, count, harmed = self.random.randrange(1, 20), 0, 0.0
        async for _ in reply.pieces():
            count += 1
            if harm and harmed and reply.failovers:
                self.again[harm].append(time.monotonic() - harmed)
                self.named[harm].append(reply.failovers[-1].at - harmed)
                harmed = 0.0
            if harm and count == after and reply.route.plan and reply.route.plan.workers:
                victim = self.random.choice(reply.route.plan.workers)
                HARMS[harm](next(each for each in self.world.workers if each.endpoint == victim))
                harmed = time.monotonic()
        return reply.text, len(reply.failovers), reply.outcome().error

    async def mend(self) -> None:
        """Workers that were harmed are replaced, as a person would restart them."""
        alive = [each for each in self.world.workers if is_well(each)]
        for each in self.world.workers:
            if each not in alive:
                each.worker.process.kill()
                each.worker.process.wait()
                each.close()
        self.world.workers = alive + [Cabled(await start_worker()) for _ in range(WORKERS - len(alive))]
        self.world.pool.set_known((each.endpoint, "configured") for each in self.world.workers)

    async def close(self) -> None:
        await self.world.coordinators.stop()
        for each in self.world.workers:
            each.worker.process.kill()
            each.worker.process.wait()
            each.close()


def is_well(each: Cabled) -> bool:
    if each.is_pulled or each.worker.process.poll() is not None:
        return False
    return psutil.Process(each.worker.process.pid).status() != psutil.STATUS_STOPPED


async def start_worker() -> Worker:
    port = free_port("127.0.0.1", random.randrange(20000, 30000))
    argv = [os.environ["GGML_RPC_SERVER"], "-H", "127.0.0.1", "-p", str(port), "-t", "1"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet, restore_signals=False, start_new_session=True)
    while not await listens(process.pid, port):
        await asyncio.sleep(0.01)
    return Worker(Endpoint("127.0.0.1", port), process)


def said(values: list[float]) -> str:
    return f"p50 {statistics.median(values):.2f} s, max {max(values):.2f} s ({len(values)})" if values else "never"


async def main() -> int:
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it tells of each write to a server that was just killed
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    us = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), asked.seed)
        try:
            await soak.run(10, 600.0)  # by now everything is imported and cached
            before = us.num_fds(), us.memory_info().rss
            soak.ended, soak.named, soak.again = dict.fromkeys(soak.ended, 0), {harm: [] for harm in HARMS}, {harm: [] for harm in HARMS}
            await soak.run(asked.prompts, asked.minutes * 60)
            after = us.num_fds(), us.memory_info().rss
        finally:
            await soak.close()
    left = [child for child in us.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
    print(f"ended: {soak.ended}")
    for harm in HARMS:
        print(f"{harm}: named after {said(soak.named[harm])}; next token after {said(soak.again[harm])}")
    print(f"left behind: {len(left)} processes; descriptors {before[0]} → {after[0]}; memory {before[1] >> 20} → {after[1] >> 20} MiB")
    return 1 if soak.ended["wrong"] or left or after[0] > before[0] + 5 else 0


sys.exit(asyncio.run(main()))
