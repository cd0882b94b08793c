"""Plans: cards, batches that fit, disk and images, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sana_bench.cli import main
from sana_bench.config import RunConfig, load_config
from sana_bench.errors import ConfigError, ModelError
from sana_bench.images import write_png
from sana_bench.plan.architecture import read_architecture
from sana_bench.plan.cards import CARDS, CONTEXT_BYTES, GIB, Card, card_of_memory, find_card
from sana_bench.plan.fit import candidates, find_fit, largest_batch
from sana_bench.plan.needs import PNG_BYTES_A_PIXEL, base_files, cache_files, images_to_draw, training_files
from sana_bench.plan.trainee import build_trainee
from sana_bench.processes import check_processes
from sana_bench.store import Store
from sana_bench.train_config import StageSection
from tests.micro import write_run


def test_a_card_has_what_cuda_and_fragmentation_leave() -> None:
    card = Card("any", 22 * GIB)
    assert card.usable == 20 * GIB
    assert card.margin(card.usable) + card.usable == card.memory
    assert find_card("H100") == CARDS["h100"] and CARDS["h100"].memory < 80 * GIB
    assert card_of_memory("24GiB").memory == 24 * GIB and card_of_memory("80 gb").memory == 80 * 10**9


@pytest.mark.parametrize(("call", "value", "part"), [
    (find_card, "h10", 'Did you mean "h100"'), (find_card, "abacus", "Known: b200"), (card_of_memory, "24", "such as 24GiB"),
    (card_of_memory, "1GiB", "holds nothing"), (card_of_memory, "-5GiB", "such as 24GiB"), (card_of_memory, "24GiB\x1b[2J", "such as 24GiB")])
def test_an_unknown_card_is_one_error(call, value: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        call(value)


def affine(config: RunConfig, stage: StageSection) -> int:
    """Of a model whose step takes 10, an optimizer's 20, and 8 a sample, or 2 with gradient checkpointing; cut among processes but for samples."""
    settings = config.train
    fixed = (10 + (5 if settings.optimizer == "adamw_8bit" else 20)) // (settings.num_processes if settings.strategy == "fsdp2" else 1)
    return fixed + (2 if settings.gradient_checkpointing else 8) * stage.train_batch_size


@pytest.mark.parametrize(("usable", "batch"), [(200, 12), (125, 6), (63, 4), (62, 4), (61, 3), (39, 1), (37, None)])
def test_the_largest_batch_divides_the_samples_of_a_step(usable: int, batch: int | None) -> None:
    config, stage = load_config("tiny"), StageSection(resolution=512, max_train_steps=1, train_batch_size=2, gradient_accumulation_steps=6)
    found = largest_batch(config, stage, usable, affine)
    assert (found and found.train_batch_size) == batch
    assert found is None or found.train_batch_size * found.gradient_accumulation_steps == 12


@pytest.mark.parametrize(("trainer", "usable", "changes", "batch"), [
    ("full", 62, (), 4), ("full", 37, ("train.gradient_checkpointing=true",), 2),
    ("full", 24, ("train.gradient_checkpointing=true", "train.optimizer=adamw_8bit"), 4),
    ("full", 16, ("train.gradient_checkpointing=true", "train.num_processes=4", "train.strategy=fsdp2"), 1),
    ("lora", 24, ("train.gradient_checkpointing=true", "train.num_processes=2", "train.strategy=fsdp2"), 2)])
def test_the_mildest_change_that_fits_is_found(trainer: str, usable: int, changes: tuple[str, ...], batch: int) -> None:
    config = load_config("tiny", (f"train.trainer={trainer}", "train.train_batch_size=4"))
    fit = find_fit(config, usable, affine)
    assert fit.changes == changes and fit.stages[0].train_batch_size == batch
    again = load_config("tiny", (f"train.trainer={trainer}", "train.train_batch_size=4", *fit.changes)).train
    assert again == fit.config.train
    assert fit.stages[0].train_batch_size * fit.stages[0].gradient_accumulation_steps * again.num_processes == 4


@pytest.mark.parametrize("trainer", ["lora", "full"])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "came"])
def test_no_change_is_one_that_training_refuses(trainer: str, optimizer: str) -> None:
    for processes in ((), ("train.num_processes=2",), *([("train.num_processes=2", "train.strategy=fsdp2")] if optimizer == "adamw" else [])):
        settings = load_config("tiny", (f"train.trainer={trainer}", f"train.optimizer={optimizer}", *processes)).train
        for changes in candidates(settings):
            check_processes(settings.model_copy(update=changes))


def test_nothing_fits_a_card_that_is_too_small_or_processes_that_do_not_divide_a_step() -> None:
    assert find_fit(load_config("tiny", ("train.trainer=full", "train.train_batch_size=4")), 3, affine) is None
    assert find_fit(load_config("tiny", ("train.trainer=full", "train.train_batch_size=1")), 10, affine) is None


def micro_config(micro: dict[str, Path], folder: Path, *overrides: str) -> RunConfig:
    return load_config(str(write_run(folder, **micro)), overrides)


def test_caches_are_counted_by_unique_views_and_captions(micro: dict[str, Path], tmp_path: Path) -> None:
    config = micro_config(micro, tmp_path, "train.max_train_steps=30", "train.augment.num_views=2",
                          "train.earlier_stage=[{resolution = 32, max_train_steps = 30, train_batch_size = 2}]")
    architecture, store = read_architecture(config.model), Store(config.run.store)
    latents, texts = cache_files(architecture, config, store)
    assert (latents.number, latents.size) == (2 * 2 * 3, 2 * 3 * 4 * 4 * (2 * 2 + 1 * 1))  # stages x views x images; views x images x channels x bytes x cells
    captions = {json.loads(line)["text"] for line in (micro["training"] / "metadata.jsonl").read_text().splitlines()}
    assert (texts.number, texts.size) == (len(captions) + 1, (len(captions) + 1) * 16 * (16 * 4 + 8))
    cropped = micro_config(micro, tmp_path, "train.max_train_steps=30", "train.regions.crop_share=0.5")
    assert cache_files(architecture, cropped, store)[0].number == 3 + 30


def test_training_leaves_what_is_trained_and_a_state_of_it(micro: dict[str, Path], tmp_path: Path) -> None:
    config = micro_config(micro, tmp_path)
    transformer = build_trainee(read_architecture(config.model), config)
    trained = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
    number = sum(parameter.numel() for parameter in trained)
    state, weights = training_files(transformer, config)
    assert (weights.size, state.size) == (4 * number, 2 * (12 * number + 4 * len(trained)))
    assert base_files(read_architecture(config.model), config) == []


def test_a_trained_adapter_and_its_state_have_the_planned_sizes(micro: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sana_bench.train import train

    monkeypatch.setattr("sana_bench.train.remove_training_state", lambda folder: None)
    config = micro_config(micro, tmp_path)
    state, weights = training_files(build_trainee(read_architecture(config.model), config), config)
    store = Store(config.run.store)
    folder = store.folder("checkpoint", train(config, store).digest)
    headers = 16_000
    assert 0 <= (folder / "pytorch_lora_weights.safetensors").stat().st_size - weights.size < headers
    assert 0 <= (folder / "training_state.safetensors").stat().st_size - state.size // 2 < headers
    planned = cache_files(read_architecture(config.model), config, store)[0]
    assert len(list((store.root / "latents").rglob("*.safetensors"))) == planned.number


def test_images_are_those_of_all_suites_seeds_and_of_the_base() -> None:
    config = load_config("sana_1600m_2k_lora", ("train.num_seeds=3", "score.extra_metrics=[]"))
    variant, guard, base = images_to_draw(config)
    assert (variant.suite, variant.of, variant.number % (3 * 2)) == ("human_core", "variant", 0)
    assert (guard.number, base.number, base.of) == (3 * base.number, base.number, "base") and guard.suite == base.suite == "general_guard"


def test_the_assumed_size_of_an_image_is_between_those_of_flat_ones_and_of_noise(tmp_path: Path) -> None:
    import numpy as np

    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    write_png(tmp_path / "noise.png", noise)
    write_png(tmp_path / "flat.png", np.full_like(noise, 128))
    sizes = {name: (tmp_path / f"{name}.png").stat().st_size / 512**2 for name in ("flat", "noise")}
    assert sizes["flat"] < 0.1 * PNG_BYTES_A_PIXEL < PNG_BYTES_A_PIXEL < 0.5 * sizes["noise"]


def test_the_known_architecture_stands_in_where_the_hub_cannot_be_asked() -> None:
    model = load_config("sana_1600m_2k_lora").model
    assert "not fetched" in read_architecture(model).origin
    with pytest.raises(ModelError, match="must be a commit.*Known without a network: .*Sana_1600M_2Kpx_BF16_diffusers"):
        read_architecture(model.model_copy(update={"base": "someone/other"}))
    with pytest.raises(ModelError, match="cannot fetch the config files of someone/other"):
        read_architecture(model.model_copy(update={"base": "someone/other", "revision": "a" * 40}))


def test_the_command_says_the_same_as_text_and_as_json(micro: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = str(write_run(tmp_path, **micro))
    assert main(["plan", recipe, "--memory", "24GiB", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert [phase["name"] for phase in document["phases"]] == ["encode captions", "encode training images", "train at 64 px, batch 2", "denoise", "decode images"]
    assert all(phase["fits"] and phase["peak"] == sum(phase["parts"].values()) for phase in document["phases"])
    assert document["fit"]["settings"] == [] and document["fit"]["stages"][0]["train_batch_size"] == 2
    assert document["images"] == [{"suite": "micro_suite", "of": "variant", "number": 6}]
    assert document["train_hours_estimate"] is None  # of a card that only the memory is known of
    pictures = [tmp_path / "plan.svg", tmp_path / "again.svg"]
    for picture in pictures:
        assert main(["plan", recipe, "--card", "4090", "--set", "train.trainer=none", "--plot", str(picture)]) == 0
    drawn = pictures[0].read_text()
    assert drawn == pictures[1].read_text() and "denoise" in drawn and "4090: 23.99 GiB" in drawn and "text encoder" in drawn
    text = capfd.readouterr().out
    assert "nothing is trained here" in text and "denoise" in text and "encode captions" not in text
    assert f"of 4090, {24564 / 1024:.2f} GiB" in text and "estimate, not measured" in text and "denoising under 0.1 h" in text


def test_what_does_not_fit_is_said_with_what_to_change(micro: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = str(write_run(tmp_path, **micro))
    memory = f"{(CONTEXT_BYTES + 20_000) / GIB:.9f}GiB"
    assert main(["plan", recipe, "--memory", memory]) == 0
    text = capfd.readouterr().out
    assert "DOES NOT FIT" in text and "no known setting makes this training fit" in text
    assert "try --set generate.vae_tile_size=1024" in text


@pytest.mark.parametrize(("words", "part"), [
    (["nothing"], 'no recipe "nothing"'), (["--card", "h10"], 'Did you mean "h100"'), (["--memory", "lots"], "such as 24GiB"), (["--plot", "plan.gif"], "ends in .svg or .png"),
    (["--card", "h100", "--memory", "24GiB"], "either --card or --memory"), (["--set", "data.training=/nowhere"], 'no data source "/nowhere"'),
    (["--set", "model.base=someone/other"], "must be a commit"), (["--set", "train.trainer=lorra"], 'Did you mean "lora"'),
    (["--set", "train.target_modules=['to_z']"], "to_z"),
    (["--set", "train.optimizer=came", "--set", "train.num_processes=2", "--set", "train.strategy=fsdp2"], "cannot work on weights that are cut"), (["--set", "train.optimizer=sgd"], "train.optimizer")])
def test_bad_input_is_one_error(words: list[str], part: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["plan", *words, "--set", f"run.store={tmp_path}"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and part in err and err.count("sana-bench: error:") == 1 and "Traceback" not in err
    assert "simulate" not in err  # which takes minutes of a large base
