"""Rule-based rewordings, typing errors and off-topic questions: what the FAQ alone does not teach."""

from __future__ import annotations

import re
from random import Random

from scripts.demo_model.words import (
    ENDINGS,
    HOW_FORMS,
    OFF_TOPIC,
    OFF_TOPIC_FORMS,
    OPENINGS,
    PEOPLE,
    PLACES,
    SYLLABLES,
    SYNONYMS,
    THINGS,
    WHAT_FORMS,
)

_WHAT = re.compile(r"^What (is|are) (an |a |the )?(.+?)\?$")
_HOW = re.compile(r"^How (do|can) I (.+?)\?$")
_LETTERS = "abcdefghijklmnopqrstuvwxyz "


def off_topic(chance: Random) -> str:
    """A question the FAQ does not answer."""
    if chance.random() < 0.35:
        return chance.choice(OFF_TOPIC)
    question = chance.choice(OFF_TOPIC_FORMS)
    fillings = {
        "{P}": lambda: chance.choice(PLACES),
        "{N}": lambda: chance.choice(PEOPLE),
        "{T}": lambda: chance.choice(THINGS),
        "{D}": lambda: str(chance.randint(1, 99)),
        "{R}": lambda: "".join(chance.choice(SYLLABLES) for _ in range(chance.randint(1, 4))),
    }
    for mark, filling in fillings.items():
        while mark in question:
            question = question.replace(mark, filling(), 1)
    return question


def reworded(question: str, chance: Random) -> str:
    """The same question in other words, perhaps with a word lost, two words swapped or a typing error."""
    if chance.random() < 0.2:
        return question
    question = _other_form(question, chance)
    for pattern, synonyms in SYNONYMS:
        if chance.random() < 0.3:
            question = re.sub(pattern, lambda _, words=synonyms: chance.choice(words), question, count=1)
    question = _framed(_shuffled(question, chance), chance)
    question = sloppy(question, chance)
    if chance.random() < 0.18:
        question = misspelt(question, chance)
    if chance.random() < 0.04:
        question = misspelt(question, chance)
    return question.strip() or "Hello"


def sloppy(text: str, chance: Random) -> str:
    """Lower or upper case, the question mark forgotten or doubled."""
    shape = chance.random()
    if shape < 0.25:
        text = text.lower()
    elif shape < 0.28:
        text = text.upper()
    if chance.random() < 0.3:
        return text.rstrip("?.!")
    return text + "?" if chance.random() < 0.1 else text


def misspelt(text: str, chance: Random) -> str:
    """A letter left out, swapped, doubled or replaced."""
    at = chance.randrange(max(1, len(text) - 1))
    before, letter, following, rest = text[:at], text[at : at + 1], text[at + 1 : at + 2], text[at + 2 :]
    mistake = chance.random()
    if mistake < 0.3:
        return before + following + rest
    if mistake < 0.6:
        return before + following + letter + rest
    if mistake < 0.8:
        return before + letter + letter + following + rest
    return before + chance.choice(_LETTERS) + following + rest


def _other_form(question: str, chance: Random) -> str:
    what, how = _WHAT.match(question), _HOW.match(question)
    if what and chance.random() < 0.6:
        article = what[2] or ""
        if chance.random() < 0.2:
            article = ""
        return chance.choice(WHAT_FORMS).format(v=what[1], a=article, x=what[3])
    if how and chance.random() < 0.6:
        return chance.choice(HOW_FORMS).format(x=how[2])
    return question


def _shuffled(question: str, chance: Random) -> str:
    if chance.random() < 0.15:
        words = question.split()
        if len(words) > 4:
            del words[chance.randrange(len(words))]
            question = " ".join(words)
    if chance.random() < 0.10:
        words = question.split()
        if len(words) > 4:
            at = chance.randrange(len(words) - 1)
            words[at], words[at + 1] = words[at + 1], words[at]
            question = " ".join(words)
    return question


def _framed(question: str, chance: Random) -> str:
    opening = chance.choice(OPENINGS)
    if opening and question[:1].isupper() and question[1:2].islower() and chance.random() < 0.7:
        question = question[0].lower() + question[1:]
    question = opening + question
    return question + chance.choice(ENDINGS) if chance.random() < 0.3 else question
