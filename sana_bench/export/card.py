"""A LoRA's model card as a folder: README.md, `.eval_results/sana-bench.yaml`, pictures and weights where asked for. It stays on this machine until pushed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sana_bench.assets.sources import OFFLINE_VARIABLE, is_offline
from sana_bench.commands.settings import recorded_config
from sana_bench.config import RunConfig
from sana_bench.errors import ConfigError, ReportError, StoreError
from sana_bench.export.pictures import card_pictures
from sana_bench.export.public import without_folders
from sana_bench.export.results import TASK, Exported, current_results, legacy_results
from sana_bench.export.text import CardFacts, card_text
from sana_bench.external_images import MAKER
from sana_bench.records import BenchmarkResult, Checkpoint, RegressionReport
from sana_bench.report.wording import clipped
from sana_bench.results import BASELINE_FOLDER, GUARD_FOLDER, REPORT_RECORD, RESULT_FILE
from sana_bench.store import Store, read_record, sha256_file, write_bytes
from sana_bench.train import KIND

CARD_FILE, RESULTS_FILE, WEIGHTS_FILE = "README.md", ".eval_results/sana-bench.yaml", "pytorch_lora_weights.safetensors"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class CardOptions:
    license: str = ""
    base_model: str = ""
    """Hub id of the base, where the recipe names none."""
    dataset: str = ""
    """Hub id of the data set that holds the suite."""
    with_weights: bool = False
    pictures: int = 0
    """So many of the pairs that lost most, and as many of the median ones."""
    force: bool = False


def export_card(run_dir: Path, out: Path, options: CardOptions) -> list[str]:
    """Write the card's folder from the records of a run.

    Returns:
        The files, relative to `out`.

    Raises:
        ConfigError: an option that is no hub id.
        ReportError: the run measured no LoRA, there is a card already, or a picture is missing.
        StoreError: a record or the weights are missing or damaged, or the folder cannot be written.
    """
    for name, value in (("--base-model", options.base_model), ("--dataset", options.dataset)):
        check_hub_id(name, value)
    if (out / CARD_FILE).exists() and not options.force:
        raise ReportError(f"{out / CARD_FILE} is there already: give another folder, or --force to overwrite it")
    config, checkpoint = recorded_config(run_dir), _adapter(run_dir)
    exported = _read(run_dir, options.dataset)
    pictures = card_pictures(run_dir, exported.report, options.pictures)
    files = {picture.file_name: picture.content for picture in pictures}
    if options.with_weights:
        files[WEIGHTS_FILE] = _weights(config, checkpoint)
    base_model = options.base_model or (checkpoint.base if HUB_ID.fullmatch(checkpoint.base) and not Path(checkpoint.base).expanduser().is_dir() else "")
    facts = CardFacts(clipped(exported.own.name), base_model, clipped(options.license), WEIGHTS_FILE if options.with_weights else "", checkpoint, config,
                      tuple(pictures))
    files[RESULTS_FILE] = _results_yaml(exported)
    files[CARD_FILE] = _front_matter(exported, facts) + card_text(exported, facts).encode()
    for name, content in files.items():
        write_bytes(out / name, content)
    return list(files)


def push(out: Path, files: list[str], repository: str, public: bool = False) -> str:
    """Upload these files of the folder, and nothing else in it, to the hub, which makes the repository where there is none.

    Args:
        public: Make a new repository public. One that exists stays as it is.

    Returns:
        Address of the commit.

    Raises:
        ReportError: the network is forbidden or out of reach, or the hub refuses.
    """
    check_push(repository)
    from huggingface_hub import HfApi

    api = HfApi(library_name="sana-bench")
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=out, allow_patterns=files, commit_message="Model card with results of sana-bench")
        return str(commit.commit_url)
    except Exception as error:  # the hub's own errors, and those of whichever HTTP library it uses
        raise ReportError(f"{repository} was not pushed ({' '.join(str(error).split()):.200}). Log in with `hf auth login` or HF_TOKEN; the card stays in {out}") from error


def check_push(repository: str) -> None:
    """Before anything is written: whether it may be sent at all.

    Raises:
        ConfigError: no hub id.
        ReportError: the network is forbidden.
    """
    from huggingface_hub.constants import HF_HUB_OFFLINE

    check_hub_id("--push", repository)
    if is_offline() or HF_HUB_OFFLINE:
        raise ReportError(f"{OFFLINE_VARIABLE if is_offline() else 'HF_HUB_OFFLINE'}=1 forbids the network, so nothing can be pushed to {repository}. "
                          f"Leave out --push to write the card only, or unset it")


def check_hub_id(option: str, value: str) -> None:
    if value and not HUB_ID.fullmatch(value):
        raise ConfigError(f'{option} takes an id of the hub, OWNER/NAME, not "{value}"')


def _read(run_dir: Path, dataset: str) -> Exported:
    folders = [run_dir, *([run_dir / GUARD_FOLDER] if (run_dir / GUARD_FOLDER).is_dir() else [])]
    results = tuple(read_record(folder / RESULT_FILE, BenchmarkResult) for folder in folders)
    copy = run_dir / BASELINE_FOLDER / RESULT_FILE
    sides = [results[0], *([read_record(copy, BenchmarkResult)] if copy.exists() else [])]
    report = read_record(run_dir / REPORT_RECORD, RegressionReport)
    return Exported(without_folders(report, [side.config for side in sides]), results, dataset)


def _adapter(run_dir: Path) -> Checkpoint:
    checkpoint = read_record(run_dir / "checkpoint.json", Checkpoint)
    if checkpoint.kind != "adapter":
        raise ReportError(f"{run_dir} measured no LoRA but {'images made elsewhere' if checkpoint.trainer == MAKER else f'a checkpoint of kind {checkpoint.kind}'}: "
                          f"a card is of a LoRA that was trained, or taken over with train.trainer=external")
    return checkpoint


def _weights(config: RunConfig, checkpoint: Checkpoint) -> bytes:
    """As they were measured."""
    path = Store(config.run.store).folder(KIND, checkpoint.digest) / Path(checkpoint.weights_file).name
    if not path.is_file():
        raise StoreError(f"the weights of checkpoint {checkpoint.digest} are not in the store {config.run.store}: run `sana-bench train` with the settings of "
                         f"this run, or leave out --with-weights")
    if sha256_file(path) != checkpoint.weights_sha256:
        raise StoreError(f"{path} is not what was measured: its SHA-256 is not {checkpoint.weights_sha256}. Delete its folder and train again")
    return path.read_bytes()


def _front_matter(exported: Exported, facts: CardFacts) -> bytes:
    from huggingface_hub import ModelCardData

    relation = {"base_model_relation": "adapter"} if facts.base_model else {}
    data = ModelCardData(base_model=facts.base_model or None, library_name="diffusers", license=facts.license or None, pipeline_tag=TASK,
                         tags=["lora", "sana", TASK, "diffusers", "sana-bench"], model_name=facts.name, eval_results=legacy_results(exported), **relation)
    return f"---\n{data.to_yaml()}\n---\n\n".encode()


def _results_yaml(exported: Exported) -> bytes:
    import yaml
    from huggingface_hub import eval_result_entries_to_yaml

    return yaml.safe_dump(eval_result_entries_to_yaml(current_results(exported)), sort_keys=False, allow_unicode=True).encode()
