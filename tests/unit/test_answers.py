"""What commands answer about a training."""

from __future__ import annotations

from sana_bench.commands.answers import training_answer
from sana_bench.console import Table
from sana_bench.records import Checkpoint, ShareOfSamples, StageCost, TrainingSummary


def checkpoint(**summary) -> Checkpoint:
    made = TrainingSummary(steps=20, losses=(1.0,), num_images=34, data_digest="d", trainable_parameters=221_184, **summary)
    return Checkpoint(digest="cafe", base="tiny-sana", base_digest="b", trainer="lora", kind="adapter", summary=made,
                      cost=StageCost(seconds=100.0, peak_memory_bytes=1))


def test_a_training_says_what_it_took_and_what_it_saw() -> None:
    shares = (ShareOfSamples(name="source=mine", before=0.8, after=0.5), ShareOfSamples(name="crops", before=0.1, after=0.3))
    head, cost, table, note = training_answer(checkpoint(shares=shares, seconds_inside=60.0, seconds_outside=20.0))
    assert head == "checkpoint cafe: lora on tiny-sana"
    assert "20 steps on 34 images, 221,184 parameters trained" in cost and "25.0% outside" in cost
    assert isinstance(table, Table) and table.rows == [("source=mine", "80.0%", "50.0%"), ("crops", "10.0%", "30.0%")]
    assert note.startswith("crops: 10.0% of the images and 30.0% of the samples")


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert len(training_answer(checkpoint(seconds_inside=60.0, seconds_outside=0.0))) == 2  # all images are seen alike
    assert training_answer(checkpoint().model_copy(update={"summary": None})) == ["checkpoint cafe: lora on tiny-sana"]
    assert "outside" not in training_answer(checkpoint())[1]
