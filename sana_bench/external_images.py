"""Images made elsewhere as a sample set: a folder is scored, or compared with another folder, without training or generation.

An image belongs to a prompt by its name, `<prompt id>_<index>.png` or `<prompt id>.png`, or by a line of the folder's `metadata.jsonl`
(`file_name` and `prompt_id`). A folder whose `metadata.jsonl` has `text` instead (the imagefolder convention of Hugging Face) is
its own suite, whose prompts expect one face each.
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sana_bench.base_images import as_base
from sana_bench.config import RunConfig
from sana_bench.errors import DataError
from sana_bench.images import pixels_sha256, read_image
from sana_bench.progress import progress
from sana_bench.prompts import Prompt, PromptSuite, load_suite, seed_of
from sana_bench.records import Checkpoint, Sample, SampleSet, StageCost
from sana_bench.registry import near_names
from sana_bench.store import Store, digest_of, sha256_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
METADATA = "metadata.jsonl"
MAKER = "images"
"""Stands where a trainer's or a base's name would."""


def suite_of(folder: Path, suite: str) -> PromptSuite:
    """The named suite, or, where none is named, the one that the folder's captions make.

    Raises:
        PromptSuiteError: no such suite.
        DataError: no suite is named and the folder has no captions.
    """
    if suite:
        return load_suite(suite)
    rows = [row for row in _metadata(folder) if row.get("text")]
    if not rows:
        raise DataError(f"{folder} has no {METADATA} with captions: name the suite that its images were drawn from with --suite, or add the file "
                        '(a line an image: {"file_name": "a.png", "text": "a man waves"})')
    texts = list(dict.fromkeys(row["text"].strip() for row in rows))
    return PromptSuite(name="captions", version=1, description=f"captions of {len(rows)} images", source=METADATA, license="unknown",
                       prompt=tuple(Prompt(id=caption_id(text), text=text) for text in texts))


def caption_id(text: str) -> str:
    """Id of a caption as a prompt; the same for the same caption in any folder, so that folders make pairs."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return f"{'-'.join(words)[:40].strip('-') or 'caption'}-{digest_of(text)[:8]}"


def take_in(folder: Path, suite: PromptSuite, store: Store) -> tuple[Checkpoint, SampleSet]:
    """Copy the images into the store as the samples of a checkpoint of their own.

    Raises:
        DataError: no folder, no image, an image that cannot be decoded, belongs to no prompt, or is there twice.
    """
    placed = list(_places(folder, suite))
    twice = [name for name, number in Counter(sample_id for _, sample_id, _, _ in placed).items() if number > 1]
    if twice:
        raise DataError(f"{folder} has two images for {', '.join(sorted(twice)[:3])}; keep one of each, or number them _000, _001 and so on")
    samples = []
    with progress(f"read {folder.name}", len(placed)) as tracker:
        for path, sample_id, prompt_id, index in placed:
            pixels = read_image(path, DataError)
            samples.append(Sample(sample_id=sample_id, prompt_id=prompt_id, sample_index=index, seed=seed_of(suite, prompt_id, index),
                                  width=pixels.shape[1], height=pixels.shape[0], file_name=path.name, pixels_sha256=pixels_sha256(pixels)))
            tracker.advance()
    identity = digest_of([MAKER, suite.digest, [[sample.sample_id, sample.file_name, sample.pixels_sha256] for sample in samples]])
    nothing = StageCost(seconds=0, peak_memory_bytes=0)
    checkpoint = Checkpoint(digest=identity, base=MAKER, base_digest=identity, trainer=MAKER, kind="base", cost=nothing)
    found = store.find("samples", identity, SampleSet)
    target = store.folder("samples", identity)
    for path, *_ in placed:
        if not (target / path.name).exists() or sha256_file(target / path.name) != sha256_file(path):
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.name)
    sample_set = found or store.finish("samples", identity, SampleSet(
        digest=identity, checkpoint_digest=identity, suite=suite.name, suite_version=suite.version, sampling={"source": MAKER},
        samples=tuple(samples), cost=nothing))
    return checkpoint, sample_set


def config_for(config: RunConfig, sample_set: SampleSet) -> RunConfig:
    """Settings that train nothing, under which reference photographs are shown at the size that most of the images have."""
    (width, height), _ = Counter((sample.width, sample.height) for sample in sample_set.samples).most_common(1)[0]
    generate = config.generate.model_copy(update={"width": width, "height": height})
    return as_base(config).model_copy(update={"name": MAKER, "generate": generate})


def _places(folder: Path, suite: PromptSuite) -> Iterator[tuple[Path, str, str, int]]:
    """(path, sample id, prompt id, index) of every image, in the order of their names."""
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder} has no image ({', '.join(SUFFIXES)})")
    named = {row["file_name"]: row for row in _metadata(folder)}
    ids, seen = {prompt.id for prompt in suite.prompt}, Counter[str]()
    for path in paths:
        row = named.get(path.name, {})
        prompt_id, index = row.get("prompt_id") or (caption_id(row["text"].strip()) if row.get("text") else ""), row.get("sample_index")
        if not prompt_id:
            prompt_id, index = _from_name(path.stem, ids)
        if prompt_id not in ids:
            raise DataError(f'{path} belongs to no prompt of suite "{suite.name}".{near_names(path.stem, sorted(ids))} Name it <prompt id>_<index>{path.suffix}, '
                            f"or say so in {folder / METADATA} (file_name and prompt_id)")
        index = seen[prompt_id] if index is None else int(index)
        seen[prompt_id] += 1
        yield path, f"{prompt_id}_{index:03}", prompt_id, index


def _from_name(stem: str, ids: set[str]) -> tuple[str, int | None]:
    if stem in ids:
        return stem, None
    name, _, number = stem.rpartition("_")
    return (name, int(number)) if name in ids and number.isdigit() else (stem, None)


def _metadata(folder: Path) -> list[dict]:
    path = folder / METADATA
    if not path.exists():
        return []
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not JSON lines: {error}") from error
    if not all(isinstance(row, dict) and isinstance(row.get("file_name"), str) for row in rows):
        raise DataError(f"{path}: every line needs a file_name")
    return rows
