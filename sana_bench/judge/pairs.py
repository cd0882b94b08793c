"""A pair of pictures before the judge: asked in both orders, answers held to their form and kept, never guessed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pydantic import ValidationError

from sana_bench.judge.client import ChatClient
from sana_bench.judge.questions import SCHEMA, Answer, Choice, messages, question_digest
from sana_bench.metrics import Unscored
from sana_bench.progress import Progress
from sana_bench.records import Versioned
from sana_bench.store import Store, digest_of

KIND = "judgements"
SEED = 0
NO_ANSWER = "the judge gave no answer in the form asked for"
_SWAPPED: dict[Choice, Choice] = {"A": "B", "B": "A", "tie": "tie"}


class Judgement(Versioned):
    """One answer, in the store."""

    choice: Choice
    reason: str
    model: str
    """What the server called itself."""


@dataclass(frozen=True)
class Preference:
    """What the judge said of (candidate, base), and of (base, candidate)."""

    forward: Choice
    backward: Choice

    @property
    def orders_agree(self) -> bool:
        return self.forward == _SWAPPED[self.backward]

    @property
    def value(self) -> float:
        """1 where the candidate won in both orders, 0 where it lost in both, else 0.5."""
        return {"A": 1.0, "B": 0.0, "tie": 0.5}[self.forward] if self.orders_agree else 0.5


class Judge:
    """Asks about pairs; an answer that is known, from this process or the store, is not asked for again.

    Args:
        client: whom to ask.
        store: where answers are kept; None keeps them in memory only.
    """

    def __init__(self, client: ChatClient, store: Store | None) -> None:
        self._client, self._store = client, store
        self._known: dict[str, Judgement | None] = {}
        # Each takes seconds, and nobody knows beforehand how many the store has.
        self._progress = Progress("answers of the judge", None)

    def prefer(self, aspect: str, caption: str, candidate_jpeg: bytes, base_jpeg: bytes) -> Preference | Unscored:
        """Which picture is better on the aspect, in both orders.

        Raises:
            MetricError: the endpoint cannot be asked.
        """
        forward = self.choose(aspect, caption, candidate_jpeg, base_jpeg)
        if isinstance(forward, Unscored):
            return forward
        backward = self.choose(aspect, caption, base_jpeg, candidate_jpeg)
        return backward if isinstance(backward, Unscored) else Preference(forward, backward)

    def choose(self, aspect: str, caption: str, a_jpeg: bytes, b_jpeg: bytes) -> Choice | Unscored:
        """One answer on one order; Unscored where the second try, too, was not in the form asked for."""
        key = digest_of([self._client.endpoint.model, question_digest(aspect), caption, _sha256(a_jpeg), _sha256(b_jpeg)])
        if key not in self._known:
            found = self._store.find(KIND, key, Judgement) if self._store else None
            self._known[key] = found or self._ask(key, aspect, caption, a_jpeg, b_jpeg)
        known = self._known[key]
        return known.choice if known else Unscored(NO_ANSWER)

    def _ask(self, key: str, aspect: str, caption: str, a_jpeg: bytes, b_jpeg: bytes) -> Judgement | None:
        for again in (False, True):
            reply = self._client.ask(messages(aspect, caption, a_jpeg, b_jpeg, again), SCHEMA, SEED + again)
            self._progress.advance()
            try:
                answer = Answer.model_validate_json(reply.text)
            except ValidationError:
                continue
            judgement = Judgement(choice=answer.choice, reason=answer.reason, model=reply.model)
            return self._store.finish(KIND, key, judgement) if self._store else judgement
        return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
