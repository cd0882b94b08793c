"""What is wrong or lopsided in a prompt suite: near-duplicates, words against declared attributes, long texts, uneven tags.

Structure (ids, types, targets) is checked when a suite is read; this looks at what the texts say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from sana_bench.prompts import Attribute, Prompt, PromptSuite

NEAR = 0.35
"""Share of three-word sequences in common from which on two prompts are near-duplicates."""
CLIP_TOKENS = 77
"""Context of OpenAI's CLIP, with both marks: what is longer is cut when such a model reads it."""
FEWEST_OF_A_TAG = 4
"""Prompts of a tag below which its results say little."""

WORDS: dict[Attribute, str] = {
    "gender": r"man|men|woman|women|boy|boys|girl|girls|lady|ladies|gentleman|bride|groom|father|mother|son|daughter|grandmother|grandfather|"
              r"brother|sister|husband|wife|he|him|his|she|her|hers|himself|herself|businessman|businesswoman|waitress|actress|beard|bearded",
    "age": r"elderly|old|aged|young|child|children|kid|kids|boy|boys|girl|girls|baby|toddler|teenage|teenager|teenagers|teen|grandmother|"
           r"grandfather|grandparents|senior|twenties|thirties|forties|fifties|sixties|seventies|eighties|years",
}
"""Words that state an attribute of people."""
OLD_THINGS = re.compile(r"\b(?:old|young|aged)\s+(?!man\b|men\b|woman\b|women\b|person\b|people\b|couple\b|lady\b|farmer\b|fisherman\b)\w+")
"""An old wall says nothing about a person."""


@dataclass(frozen=True)
class Finding:
    """One thing that somebody should look at."""

    prompt: str
    """Id, or two; empty where it is about the suite."""
    kind: str
    message: str


def check_suite(suite: PromptSuite) -> list[Finding]:
    """Everything found, in the order of the prompts; about the whole suite last."""
    return [*(finding for prompt in suite.prompt for finding in _of_prompt(prompt)), *_near_duplicates(suite.prompt), *_balance(suite)]


def _of_prompt(prompt: Prompt) -> Iterator[Finding]:
    for form, text in (("text", prompt.text), ("short", prompt.short)):
        for attribute, words in WORDS.items():
            said = re.search(rf"\b(?:{words})\b", OLD_THINGS.sub(" ", text.lower()))
            if said and attribute not in prompt.states and prompt.expects.persons:
                yield Finding(prompt.id, "states", f'{form} says "{said[0]}" and states does not have {attribute}')
    stated = {name for name, value in prompt.asked.model_dump().items() if value}
    if not stated <= set(prompt.states):
        yield Finding(prompt.id, "states", f"asked has {', '.join(sorted(stated - set(prompt.states)))}, which states has not")
    expects = prompt.expects
    if expects.faces > expects.persons or expects.hands > 2 * expects.persons:
        yield Finding(prompt.id, "expects", f"{expects.faces} face(s) and {expects.hands} hand(s) of {expects.persons} person(s)")
    tokens = clip_tokens(prompt.text)
    if tokens > CLIP_TOKENS and clip_tokens(prompt.short or prompt.text) > CLIP_TOKENS:
        yield Finding(prompt.id, "tokens", f"{tokens} CLIP tokens, and no short form that fits {CLIP_TOKENS}")


def clip_tokens(text: str) -> int:
    """Tokens of OpenAI's CLIP with start and end marks."""
    return len(_tokenizer().encode(text)) + 2


def _near_duplicates(prompts: Sequence[Prompt]) -> Iterator[Finding]:
    """Pairs that share much, unless they ask for different people in one scene, as suites for compliance do."""
    shingles = {prompt.id: _shingles(prompt.text) for prompt in prompts}
    for one, other in combinations(prompts, 2):
        first, second = shingles[one.id], shingles[other.id]
        share = len(first & second) / max(len(first | second), 1)
        if share >= NEAR and one.asked == other.asked:
            yield Finding(f"{one.id}, {other.id}", "near-duplicate", f"share {share:.0%} of their three-word sequences")


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9']+", text.lower())
    return set(zip(words, words[1:], words[2:], strict=False)) or {tuple(words)}


def _balance(suite: PromptSuite) -> Iterator[Finding]:
    tags = Counter(tag for prompt in suite.prompt for tag in prompt.tags)
    for tag, number in sorted(tags.items()):
        if number < FEWEST_OF_A_TAG:
            yield Finding("", "balance", f'tag "{tag}" has {number} prompt(s); results per tag need at least {FEWEST_OF_A_TAG}')
    genders = Counter(prompt.asked.gender for prompt in suite.prompt if prompt.asked.gender)
    if genders and max(genders.values()) > 1.5 * (sum(genders.values()) - max(genders.values())):
        yield Finding("", "balance", f"asked genders are {dict(genders)}")


@cache
def _tokenizer():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
