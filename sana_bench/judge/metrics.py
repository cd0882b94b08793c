"""vlm_preference_*: how often a vision-language model prefers an image to the base model's own of the same prompt and noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sana_bench.errors import MetricError
from sana_bench.judge.endpoint import endpoint_of, require_endpoint
from sana_bench.judge.questions import QUESTIONS, question_digest
from sana_bench.metrics import Control, MetricContext, ScoredSample, Unscored, register_metric, variant_of
from sana_bench.prompts import Expects

IMAGE = "judge_image"
# Of ten pairs one more lost than won: less than that is hard to tell from chance in a few dozen pairs.
BUDGET = 0.05
LEAST_ANSWERED = 0.5
"""Share of the pairs without which there is no result."""


class Aspect(NamedTuple):
    """What one of the metrics asks about."""

    what: str
    """For its card."""
    expected: Callable[[Expects], bool]
    """Whether a prompt lets one expect it."""
    sees: tuple[str, ...]


ASPECTS = {
    "hands": Aspect("the hands of an image", lambda expects: expects.hands > 0,
                    ("hand_warped", "hand_fused_fingers", "hand_missing_finger", "hand_overlong_finger", "hand_added_finger", "hand_erased")),
    "faces": Aspect("the faces of an image", lambda expects: expects.faces > 0,
                    ("face_asymmetric", "face_blurred_features", "face_doubled_feature", "face_erased", "face_melted", "face_misplaced_feature")),
    "bodies": Aspect("the bodies in an image", lambda expects: expects.full_body,
                     ("body_added_arm", "body_bent_shin", "body_erased", "body_large_head", "body_missing_forearm", "body_overlong_arm", "body_short_legs")),
    "overall": Aspect("the people in an image, and the image,", lambda expects: True,
                      ("hand_warped", "face_melted", "body_missing_forearm", "picture_blurred", "picture_noisy")),
}


class JudgeService:
    """The endpoint of the environment, asked about one aspect."""

    def __init__(self, aspect: str) -> None:
        self.aspect = aspect

    def identity(self) -> str:
        endpoint = endpoint_of()
        return f"{endpoint.model}, question {question_digest(self.aspect)}" if endpoint else ""

    def require(self) -> None:
        require_endpoint()


class VlmPreference:
    """Whether a vision-language model prefers {what} to the base model's own of the same prompt and noise: 1 yes, 0 no, 0.5 a tie.

    It is off until SANA_BENCH_JUDGE_URL names an OpenAI-compatible endpoint and SANA_BENCH_JUDGE_MODEL a model there, and where score.metrics
    does not name it. To that endpoint, and nowhere else, go both images as JPEGs of at most 1536 pixels a side, the prompt and the question.

    Formula: 1 where the image wins when shown first and when shown second, 0 where it loses both times, else 0.5; an image whose
        JPEG is that of the base's own has 0.5 and is not sent. Beside it stands the share of pairs whose two orders disagree.
    Source: pairs in both orders, a win only where they agree, as in Zheng et al. 2023 (MT-Bench, arXiv 2306.05685, section 3.4); the
        question and the controls are ours.
    Limits: it sees what the model of your endpoint sees, which only its self-test on this machine tells: untrained, such models reach an
        F1 of 0.56 at finding damaged people (ArtifactLens, arXiv 2602.09475). A model's name says nothing of its quantisation or of a
        silent update, and a name such as "default" says nothing at all. A service that shrinks pictures further shrinks small hands away. Two calls an image; its files are held in memory.
    Use: compares fine-tunes of one base on the same prompts. It decides nothing before `sana-bench selftest vlm_preference_{aspect}` has
        passed with a model of this name: damaged photographs lose, the same picture twice is a tie, and the order does not matter.
    """

    aspect: str

    @classmethod
    def of(cls, aspect: str) -> type[VlmPreference]:
        made = variant_of(cls, aspect, what=ASPECTS[aspect].what, aspect=aspect)
        made.aspect = aspect
        return made

    def __init__(self, context: MetricContext) -> None:
        # Not needed to list metrics, and not free to import.
        from sana_bench.judge.client import ChatClient
        from sana_bench.judge.pairs import Judge

        self.base, self.judge = context.base, Judge(ChatClient(require_endpoint()), context.store)

    def score(self, sample: ScoredSample) -> float | Unscored:
        why_not = self._why_not_asked(sample)
        if why_not:
            return Unscored(why_not)
        image, base = self._pair(sample)
        if image == base:
            return 0.5
        preference = self.judge.prefer(self.aspect, sample.prompt.text, image, base)
        return preference if isinstance(preference, Unscored) else preference.value

    def beside(self, samples: Sequence[ScoredSample]) -> Mapping[str, float]:
        """Share of the pairs asked about whose two orders disagree; nothing where none was asked about.

        Raises:
            MetricError: too few were answered for a result.
        """
        from sana_bench.judge.pairs import Preference

        pairs = [(sample.prompt.text, *self._pair(sample)) for sample in samples if not self._why_not_asked(sample)]
        found = [self.judge.prefer(self.aspect, *pair) for pair in pairs if pair[1] != pair[2]]
        disagree = [not preference.orders_agree for preference in found if isinstance(preference, Preference)]
        if len(disagree) < LEAST_ANSWERED * len(found):  # what was answered is kept, and the rest is asked again by the next run
            raise MetricError(f"the judge answered {len(disagree)} of {len(found)} pairs in the form asked for. Let the server hold its answers to the JSON "
                              f"schema that it is sent (many have a switch for it), or ask another model")
        return {"share of pairs whose two orders disagree": float(np.mean(disagree))} if disagree else {}

    def controls(self, damaged: Sequence[ScoredSample]) -> tuple[Control, ...]:
        """See controls.py."""
        from sana_bench.judge.controls import controls_of

        return controls_of(self.judge, self.aspect, [(sample.prompt.text, *self._pair(sample)) for sample in damaged if not self._why_not_asked(sample)])

    def _why_not_asked(self, sample: ScoredSample) -> str:
        if not ASPECTS[self.aspect].expected(sample.prompt.expects):
            return f"no {self.aspect} expected"
        return "" if sample.sample_id in self.base else "the base model has no image of this prompt and noise"

    def _pair(self, sample: ScoredSample) -> tuple[bytes, bytes]:
        """JPEGs of the image and of the base's own."""
        return sample.features[IMAGE]["jpeg"].tobytes(), self.base[sample.sample_id][IMAGE]["jpeg"].tobytes()


for _aspect in QUESTIONS:
    register_metric(f"vlm_preference_{_aspect}", version=1, kind="sample", extractor=IMAGE, higher_is_better=True, unit="share of pairs won",
                    budget=BUDGET, needs_base=True, service=JudgeService(_aspect), usual=False, sees=ASPECTS[_aspect].sees)(VlmPreference.of(_aspect))
