"""Damage to a set of images that leaves every image whole: lost variety, wrong captions, one group drawn worse.

A scenario takes whole samples and a dose, the share of them that it touches, and gives samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sana_bench.metrics import ScoredSample, Unscored
from sana_bench.metrics.perceived import age_class, biggest_face, gender_class, skin_tone_class

DOSES = (0.25, 0.5, 0.75, 1.0)
MOST_LOST = 0.8
"""Share of a group that is lost at most: of a group without any face there is nothing to compare."""
Apply = Callable[[list[ScoredSample], Mapping[str, ScoredSample], float, np.random.Generator], list[ScoredSample] | None]
"""(whole samples, damaged versions of some by id, dose, generator) -> samples, as many; None where there is nobody to replace."""


@dataclass(frozen=True)
class Scenario:
    name: str
    explanation: str
    apply: Apply


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str) -> Callable[[Apply], Apply]:
    """Function decorator; the docstring's first line explains the scenario."""
    def register(apply: Apply) -> Apply:
        SCENARIOS[name] = Scenario(name, (apply.__doc__ or "").splitlines()[0], apply)
        return apply
    return register


def _chosen(samples: Sequence[ScoredSample], dose: float, draw: np.random.Generator) -> list[int]:
    return [int(index) for index in draw.permutation(len(samples))[:round(dose * len(samples))]]


@scenario("set_collapsed")
def collapse(samples, damaged, dose, draw):
    """Images are copies of one image."""
    result, first = list(samples), samples[int(draw.integers(len(samples)))]
    for index in _chosen(samples, dose, draw):
        result[index] = replace(first, sample_id=samples[index].sample_id)
    return result


@scenario("captions_swapped")
def swap_captions(samples, damaged, dose, draw):
    """Images carry the captions of other images."""
    result = list(samples)
    for index in _chosen(samples, dose, draw):
        result[index] = _with_other_caption(samples[index], samples, draw)
    return result


@scenario("prompts_swapped")
def swap_prompts(samples, damaged, dose, draw):
    """Images show the people of other images, who are not whom their prompts ask for."""
    result, places = list(samples), _chosen(samples, dose, draw)
    for index, other in zip(places, draw.integers(len(samples), size=len(places)), strict=True):
        result[index] = replace(samples[index], features=samples[int(other)].features)
    return result


def _with_other_caption(sample: ScoredSample, samples: Sequence[ScoredSample], draw: np.random.Generator) -> ScoredSample:
    others = [each for each in samples if each.prompt.text != sample.prompt.text]
    other = others[int(draw.integers(len(others)))] if others else sample
    return replace(sample, features={name: {**each, "text": other.features[name]["text"]} if "text" in each else each
                                     for name, each in sample.features.items()})


def _one_class(classify: Callable) -> Apply:
    def apply(samples, damaged, dose, draw):
        labels = [_label(sample, classify) for sample in samples]
        known = sorted({label for label in labels if label})
        if len(known) < 2:
            return None
        kept = known[int(draw.integers(len(known)))]
        inside = [sample for sample, label in zip(samples, labels, strict=True) if label == kept]
        outside = [index for index, label in enumerate(labels) if label and label != kept]
        result = list(samples)
        for place in draw.permutation(len(outside))[:round(dose * len(outside))]:
            result[outside[place]] = replace(samples[outside[place]], features=inside[int(draw.integers(len(inside)))].features)
        return result
    return apply


def _label(sample: ScoredSample, classify: Callable) -> str:
    faces = sample.features["faces"]["keypoints"]
    label = classify(sample.features, biggest_face(faces)) if len(faces) else Unscored("no face found")
    return "" if isinstance(label, Unscored) else label


for _name, _classify in (("gender", gender_class), ("age", age_class), ("skin_tone", skin_tone_class)):
    _apply = _one_class(_classify)
    _apply.__doc__ = f"People of one perceived {_name.replace('_', ' ')} take the place of all others."
    scenario(f"one_{_name}")(_apply)


@scenario("one_group_damaged")
def damage_one_group(samples, damaged, dose, draw):
    """Faces, hands and captions of one perceived gender are damaged, those of the other are not."""
    return [_with_other_caption(sample, samples, draw) if hit else sample for sample, hit in _one_group_replaced(samples, damaged, dose, draw)]


@scenario("one_group_lost")
def lose_one_group(samples, damaged, dose, draw):
    """Up to four fifths of the faces of one perceived gender are too broken to be found, those of the other are whole."""
    return [sample for sample, _ in _one_group_replaced(samples, damaged, MOST_LOST * dose, draw)]


def _one_group_replaced(samples, damaged, dose, draw) -> list[tuple[ScoredSample, bool]]:
    """The samples with damaged versions of one perceived gender's, and which of them these are."""
    labels = [_label(sample, gender_class) for sample in samples]
    known = sorted({label for label in labels if label})
    hit = known[int(draw.integers(len(known)))] if known else ""
    inside = [index for index, label in enumerate(labels) if label == hit and samples[index].sample_id in damaged]
    result = [(sample, False) for sample in samples]
    for place in draw.permutation(len(inside))[:round(dose * len(inside))]:
        result[inside[place]] = (damaged[samples[inside[place]].sample_id], True)
    return result
