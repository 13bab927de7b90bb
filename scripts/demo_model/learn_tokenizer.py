"""
Learn a vocabulary from the FAQ:  python -m scripts.demo_model.learn_tokenizer NEW.json

The shipped tokenizer.json is not made anew: the weights belong to its token ids.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from scripts.demo_model.data import off_topic
from scripts.demo_model.faq import FILE, REFUSAL, read
from scripts.demo_model.tokenizer import learn
from scripts.demo_model.words import SYSTEMS

VOCABULARY = 768


def main() -> None:
    faq, chance = read(FILE), random.Random(1)
    texts = [(entry.answer, 6) for entry in faq] + [(question, 2) for entry in faq for question in entry.questions]
    texts += [(REFUSAL, 20), ("user", 400), ("assistant", 400), ("system", 60)]
    texts += [(off_topic(chance), 1) for _ in range(300)] + [(system, 2) for system in SYSTEMS]
    tokenizer = learn(texts, VOCABULARY)
    tokenizer.save(Path(sys.argv[1]))
    answers = [tokenizer.encode(entry.answer) for entry in faq]
    print(f"{len(tokenizer.pieces)} tokens; an answer has {sum(map(len, answers)) / len(faq):.1f}, at most {max(map(len, answers))}")


if __name__ == "__main__":
    main()
