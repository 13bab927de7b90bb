"""
Teach the model the FAQ:  python -m scripts.demo_model.train --out demo.pt

About 20 minutes on two cores. Progress is the larger of the share of steps and the share of time, so the schedule
always completes; it ends with long contexts and, for the last third, with quantized weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - its name everywhere

from scripts.demo_model import model as llama
from scripts.demo_model.lessons import Lessons
from scripts.demo_model.shape import Shape
from scripts.demo_model.tokenizer import Tokenizer

LENGTH = 128  # tokens of a training sequence
LONG_FROM = 0.85  # of the progress: sequences as long as the context
QUANTIZED_FROM = 0.7
WARM_UP = 60  # steps
DECAY = 0.1
SAVE_EVERY = 1000  # steps


@dataclasses.dataclass(frozen=True)
class Course:
    steps: int
    minutes: float
    batch: int
    rate: float  # the learning rate at its highest
    dropout: float
    seed: int
    out: Path
    start: Path | None


def main() -> None:
    parser = argparse.ArgumentParser(description="teach the demo model its FAQ")
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    parser.add_argument("--start", type=Path, help="a checkpoint to begin with")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    chosen = vars(parser.parse_args())
    torch.set_num_threads(chosen.pop("threads"))
    torch.set_flush_denormal(True)
    teach(Course(**chosen))


def teach(course: Course) -> None:
    torch.manual_seed(course.seed)
    tokenizer = Tokenizer.load()
    model = llama.Llama(Shape(vocabulary=len(tokenizer.pieces)), course.dropout)
    if course.start:
        model.load_state_dict(torch.load(course.start)[1])
    began = time.monotonic()
    lessons = Lessons(tokenizer, random.Random(course.seed))
    optimizer = _optimizer(model, course.rate)
    step, average = 0, None
    while (progress := max(step / course.steps, (time.monotonic() - began) / (60 * course.minutes))) < 1:
        for group in optimizer.param_groups:
            group["lr"] = _rate(course.rate, step, progress)
        llama.Matrix.quantizing = progress > QUANTIZED_FROM
        loss = _step(model, optimizer, lessons, course.batch, progress)
        average = loss if average is None else 0.97 * average + 0.03 * loss
        step += 1
        if step % 100 == 0:
            print(f"step {step}  {progress:.0%}  loss {average:.4f}  {time.monotonic() - began:.0f} s", flush=True)
        if step % SAVE_EVERY == 0:
            llama.save(model, course.out.with_suffix(".unfinished"))
    llama.Matrix.quantizing = False
    model.snap()
    llama.save(model, course.out)


def _step(model: llama.Llama, optimizer: torch.optim.Optimizer, lessons: Lessons, batch: int, progress: float) -> float:
    length = LENGTH
    if progress > LONG_FROM:
        length = model.shape.context
        batch = max(1, batch * LENGTH // length)
    sequences = [lessons.sequence(length, progress) for _ in range(batch)]
    tokens = torch.tensor([tokens for tokens, _ in sequences])  # (batch, length + 1)
    weights = torch.tensor([weights for _, weights in sequences])[:, 1:]
    logits = model(tokens[:, :-1])
    losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    loss = (losses * weights.flatten()).sum() / weights.sum()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def _optimizer(model: llama.Llama, rate: float) -> torch.optim.Optimizer:
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    norms = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


def _rate(highest: float, step: int, progress: float) -> float:
    """Warm up, fall in a line to a sixth, then to almost nothing."""
    share = 1 - 0.98 * progress if progress < 0.85 else 0.167 * (1 - progress) / 0.15 + 0.003
    return highest * min(1, (step + 1) / WARM_UP) * share


if __name__ == "__main__":
    main()
