"""Prompt suites: fixed, versioned lists of prompts in TOML, with what each prompt expects to see."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sana_bench.errors import PromptSuiteError
from sana_bench.registry import near_names
from sana_bench.shipped import shipped_folder
from sana_bench.store import digest_of

PromptId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Attribute = Literal["gender", "age", "skin_tone"]
NEIGHBOURS = 8
"""Prompts in a row of a suite's file that are taken for one topic."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Expects(_Part):
    """What a correct image of the prompt shows."""

    persons: Annotated[int, Field(ge=0)] = 1
    """People, seen from any side; those at the edge of the scene that no word is about are not counted."""
    faces: Annotated[int, Field(ge=0)] = 1
    hands: Annotated[int, Field(ge=0)] = 0
    full_body: bool = False


class Asked(_Part):
    """The class of each attribute that a text states."""

    gender: Literal["feminine", "masculine"] | None = None
    age: Literal["under_30", "30_to_50", "over_50"] | None = None
    skin_tone: Literal["light", "medium", "dark"] | None = None


class Prompt(_Part):
    """One prompt."""

    id: PromptId
    text: Annotated[str, Field(min_length=1)]
    """The long form, which is drawn unless `score.prompt_form` says otherwise: Sana was trained on long captions."""
    short: str = ""
    """The same picture in a few words; empty where there is no short form."""
    difficulty: Literal["easy", "medium", "hard"] = "medium"
    """easy: one person, simple pose. hard: busy fingers, many people, foreshortening, small parts, unusual poses."""
    tags: tuple[str, ...] = ()
    states: tuple[Attribute, ...] = ()
    """Attributes that the text states. Only prompts that leave an attribute open count for its diversity."""
    asked: Asked = Asked()
    """Which class it states of them, where one person is spoken of: whether images comply is measured."""
    expects: Expects = Expects()


class Target(_Part):
    """The distribution that open prompts should show; each table sums to 1. Nothing is assumed to be uniform."""

    gender: dict[Literal["feminine", "masculine"], float] = {}
    age: dict[Literal["under_30", "30_to_50", "over_50"], float] = {}
    skin_tone: dict[Literal["light", "medium", "dark"], float] = {}
    """Monk tones 1-4, 5-7 and 8-10."""

    @model_validator(mode="after")
    def _check_sums(self) -> Target:
        for name in ("gender", "age", "skin_tone"):
            shares = getattr(self, name)
            if shares and (abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0):
                raise ValueError(f"target.{name} must be shares that sum to 1, not {shares}")
        return self


class PromptSuite(_Part):
    """A fixed suite. Another digest is another suite: results are not compared across it."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    version: Annotated[int, Field(ge=1)]
    """Goes up when prompts change; it is part of every sample's seed."""
    description: str
    source: str
    license: str
    target: Target = Target()
    prompt: Annotated[tuple[Prompt, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_ids(self) -> PromptSuite:
        ids = [prompt.id for prompt in self.prompt]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"prompt id used twice: {', '.join(twice)}")
        return self

    @property
    def digest(self) -> str:
        """Of what the suite says: a field that a later version adds changes no suite that leaves it at its default."""
        return digest_of(self.model_dump(mode="json", exclude_defaults=True))

    def in_form(self, form: Literal["long", "short"]) -> PromptSuite:
        """The suite whose texts are the long or the short forms; another digest, so that results of both are not compared.

        Raises:
            PromptSuiteError: a prompt has no short form.
        """
        if form == "long":
            return self
        missing = [prompt.id for prompt in self.prompt if not prompt.short]
        if missing:
            raise PromptSuiteError(f'suite "{self.name}" has no short form of {len(missing)} prompt(s), such as "{missing[0]}": add `short`, or set '
                                   f"score.prompt_form to long")
        return self.model_copy(update={"prompt": tuple(prompt.model_copy(update={"text": prompt.short}) for prompt in self.prompt)})

    def by_id(self, prompt_id: str) -> Prompt:
        return next(prompt for prompt in self.prompt if prompt.id == prompt_id)


def seed_of(suite: PromptSuite, prompt_id: str, sample_index: int, seed: int = 0) -> int:
    """Seed of a sample's noise: 63 bits of a hash of suite name, version, prompt id, sample index and generate.seed, and of nothing else."""
    text = f"{suite.name}/{suite.version}/{prompt_id}/{sample_index}{f'/{seed}' if seed else ''}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def drawing_order(suite: PromptSuite) -> list[str]:
    """Prompt ids in the order in which they are drawn, of which any beginning stands for the whole suite.

    Its file is grouped by topic, so the lot is drawn among neighbours: a beginning of so many percent has about as many of every eight
    of them. Which ones, a hash of suite name, version and prompt id decides, and nothing else.
    """
    ids, places = [prompt.id for prompt in suite.prompt], {}
    for start in range(0, len(ids), NEIGHBOURS):
        lots = {name: hashlib.sha256(f"{suite.name}/{suite.version}/{name}".encode()).digest() for name in ids[start:start + NEIGHBOURS]}
        for rank, name in enumerate(sorted(lots, key=lambda name: lots[name][:8])):
            within = int.from_bytes(lots[name][8:16], "big") / 2**64
            places[name] = (rank + within) / len(lots)
    return sorted(ids, key=lambda name: places[name])


def shipped_suites() -> dict[str, Path]:
    """Suites in the package, by name."""
    return {path.stem: path for path in sorted(shipped_folder("prompts").glob("*.toml"))}


def load_suite(name_or_path: str, form: Literal["long", "short"] = "long") -> PromptSuite:
    """Read and check a suite, and give it in that form.

    Raises:
        PromptSuiteError: no such suite, not TOML, or problems in it: all of them in one message.
    """
    path = shipped_suites().get(name_or_path, Path(name_or_path))
    try:
        return PromptSuite.model_validate(tomllib.loads(path.read_text())).in_form(form)
    except OSError as error:
        known = list(shipped_suites())
        raise PromptSuiteError(f'no prompt suite "{name_or_path}" ({error.strerror}).{near_names(name_or_path, known)} '
                               f'Shipped: {", ".join(known)}') from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PromptSuiteError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        problems = "\n".join(f"  {'.'.join(map(str, problem['loc'])) or 'suite'}: {problem['msg']}" for problem in error.errors())
        raise PromptSuiteError(f"{path.name} has {error.error_count()} problem(s):\n{problems}") from error
