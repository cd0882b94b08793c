"""Parity: gaps by hand, which groups are large enough, what chance alone makes, and which images count."""

from __future__ import annotations

import numpy as np
import pytest

from sana_bench.errors import InsufficientSamplesError
from sana_bench.metrics import METRICS, MetricContext, ScoredSample, Unscored
from sana_bench.metrics.parity import FEWEST_IMAGES, LOST, SMALLEST_GROUP, UNDETERMINED, ClipParity, grouped_metrics, worst_gap
from sana_bench.prompts import Expects, Prompt, Target

CONTEXT = MetricContext(reference=[], target=Target())
SQUARE = np.tile(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32), (120, 1))[None, :478] * 100


def image_of(index: int, feminine: float, monk: int, cosine: float, *, faces: int = 1, truncated: bool = False, expected: int = 1) -> ScoredSample:
    """An image of prompt number `index` whose CLIP score is 100 times `cosine`."""
    features = {"faces": {"keypoints": SQUARE[:faces]},
                "attributes": {"feminine": np.full(faces, feminine, np.float32), "age": np.full(faces, 40, np.float32)},
                "skin_tone": {"monk": np.full(faces, monk, np.int8)},
                "clip_tiny": {"image": np.array([cosine, np.sqrt(1 - cosine**2)]), "text": np.array([1.0, 0]),
                              "truncated": np.array([truncated])}}
    return ScoredSample(sample_id=f"p{index}_0", prompt=Prompt(id=f"p{index}", text="a person", expects=Expects(faces=expected)),
                        features=features)


def clip_gap(samples: list[ScoredSample], chosen: np.ndarray | None = None) -> float:
    metric = ClipParity(CONTEXT)
    return metric.evaluate(metric.statistics(samples), np.arange(len(samples)) if chosen is None else chosen)


def test_gap_by_hand() -> None:
    """Means 0.5, 0.25 and 0.75; the fourth group has one prompt too few and the undetermined belong to none."""
    size = SMALLEST_GROUP
    values = np.repeat([0.5, 0.25, 0.75, 0.0, 1.0], [size, size, size, size - 1, size])
    labels = np.repeat([0, 1, 2, 3, -1], [size, size, size, size - 1, size])
    prompts = np.arange(len(values))
    assert worst_gap(values, labels, prompts) == pytest.approx(0.5)
    assert worst_gap(values[labels < 1], labels[labels < 1], prompts[labels < 1]) is None


def test_images_of_one_prompt_are_no_group() -> None:
    values, labels = np.repeat([0.0, 1.0], 30), np.repeat([0, 1], 30)
    assert worst_gap(values, labels, np.arange(60)) == 1
    assert worst_gap(values, labels, np.where(labels == 0, np.arange(60), 99)) is None


def test_the_worse_of_both_attributes_counts() -> None:
    """Alike for both genders; tones 0.3 apart."""
    samples = [image_of(index, index % 2, 2 if index < 16 else 9, 0.8 if index < 16 else 0.5) for index in range(32)]
    assert clip_gap(samples) == pytest.approx(30)
    assert clip_gap(samples, np.arange(16)) == pytest.approx(0)  # one tone alone, and the genders are alike


def test_rises_as_one_group_gets_worse_and_not_as_all_do() -> None:
    def gap(of_feminine: float, of_masculine: float) -> float:
        return clip_gap([image_of(index, index % 2, 5, of_feminine if index % 2 else of_masculine) for index in range(16)])

    assert gap(0.8, 0.8) == 0 < gap(0.8, 0.7) < gap(0.8, 0.4)
    assert gap(0.4, 0.8) == pytest.approx(gap(0.8, 0.4)) and gap(0.4, 0.4) == 0


def test_too_few_of_all_but_one_group_is_refused_with_sizes_and_advice() -> None:
    samples = [image_of(index, float(index > 3), 5, 0.5) for index in range(12)]
    with pytest.raises(InsufficientSamplesError, match=r"12 image.*feminine 8, masculine 4; skin tone: light 0, medium 12, dark 0.*add prompts"):
        clip_gap(samples)
    with pytest.raises(InsufficientSamplesError):
        clip_gap(samples, np.arange(0))


def test_which_images_count() -> None:
    metric = ClipParity(CONTEXT)
    assert metric.usable(image_of(0, 1.0, 5, 0.5)) is None
    assert metric.usable(image_of(0, 0.5, 5, 0.5)) is None, "a tone is enough"
    assert metric.usable(image_of(0, 0.5, 0, 0.5)) == Unscored("undetermined presentation")
    assert metric.usable(image_of(0, 1.0, 5, 0.5, faces=0)) is None, "a lost face takes part"
    assert metric.usable(image_of(0, 1.0, 5, 0.5, faces=0, expected=0)) == Unscored("no face found")
    assert metric.usable(image_of(0, 1.0, 5, 0.5, truncated=True)) is None, "a prompt that is cut is scored"
    labels = metric.statistics([image_of(0, 0.5, 5, 0.5), image_of(1, 0.9, 0, 0.5)])
    assert labels["gender"].tolist() == [UNDETERMINED, 0] and labels["skin_tone"].tolist() == [1, UNDETERMINED]
    lost = metric.statistics([image_of(0, 1.0, 5, 0.5, faces=0), image_of(1, np.nan, 5, 0.5)])
    assert lost["gender"].tolist() == [LOST, LOST] and lost["skin_tone"].tolist() == [LOST, 1]


def test_a_gap_never_shrinks_by_losing_faces() -> None:
    """Half of one group's images are bad; that they lose their faces too, and with them their group, hides nothing."""
    def samples(faces: int) -> list[ScoredSample]:
        return [image_of(index, index % 2, 5, 0.2 if index % 4 == 0 else 0.8, faces=faces if index % 4 == 0 else 1) for index in range(48)]

    assert clip_gap(samples(1)) == pytest.approx(30)
    assert clip_gap(samples(0)) >= clip_gap(samples(1))
    fine = [image_of(index, index % 2, 5, 0.8, faces=int(index % 4 > 0)) for index in range(48)]
    assert clip_gap(fine) == pytest.approx(0), "lost images as good as the others open no gap"


def test_lost_images_count_for_whichever_group_makes_it_widest() -> None:
    """Means 0.8 and 0.6; six lost of 0 beside twelve of 0.6 make 0.4, beside twelve of 0.8 they would make 0.533."""
    values = np.repeat([0.8, 0.6, 0.0], [12, 12, 6])
    labels = np.repeat([0, 1, LOST], [12, 12, 6])
    assert worst_gap(values, labels, np.arange(30)) == pytest.approx(0.8 - 0.4)
    assert worst_gap(np.where(labels == LOST, 1.0, values), labels, np.arange(30)) == pytest.approx(0.2), "good ones do not close it"


def test_it_follows_the_metric_that_it_is_of() -> None:
    for part, of in grouped_metrics().items():
        entry = METRICS.get(f"{part}_parity")
        assert entry.extractors == (*of.extractors, "attributes", "skin_tone")
        assert (entry.needs_reference, entry.unit, entry.version) == (of.needs_reference, of.unit, of.version + 3)
        assert not entry.higher_is_better and entry.fewest_images == FEWEST_IMAGES


def test_chance_and_opening_gaps_are_what_the_docstring_says() -> None:
    """96 images, equal tones: 0.33 without any gap, 1.00 where the genders are one standard deviation apart."""
    rng = np.random.default_rng(0)

    def mean_gap(apart: float) -> float:
        gaps = []
        for _ in range(600):
            gender, tone = rng.integers(2, size=96), rng.integers(3, size=96)
            values = rng.normal(size=96) - apart * gender
            gaps.append(max(worst_gap(values, gender, np.arange(96)), worst_gap(values, tone, np.arange(96))))
        return float(np.mean(gaps))

    assert mean_gap(0) == pytest.approx(0.33, abs=0.03)
    assert mean_gap(1) == pytest.approx(1.0, abs=0.03)
