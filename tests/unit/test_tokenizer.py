"""The small tokenizer: deterministic, complete, and accepted by the classes that use it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_bench.features.clip_model import TOKENIZER_FOLDER as FOLDER
from sana_bench.features.clip_model import load_tokenizer
from sana_bench.tiny.tokenizer import SPECIAL_TOKENS, WORDS, train_tokenizer

CAPTIONS = ["studio portrait of a woman aged 35 to 45 with short curly black hair, plain white shirt, happy expression",
            "Full-body studio photo of a man, white t-shirt and shorts, hands loose on the sides, park"]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer()


def test_special_tokens_are_named_and_numbered_as_gemma_does(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4]
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token) == ("<pad>", "<eos>", "<bos>")


def test_bos_comes_first_and_padding_last(tokenizer):
    tokens = tokenizer(["a person", "a person waving both hands"], padding=True)
    assert [ids[0] for ids in tokens.input_ids] == [tokenizer.bos_token_id] * 2
    assert tokens.input_ids[0][-1] == tokenizer.pad_token_id and tokens.attention_mask[0][-1] == 0
    assert tokenizer.eos_token_id not in tokens.input_ids[1]


def test_caption_words_are_one_token_each(tokenizer):
    assert tokenizer.tokenize("studio portrait of a woman aged 35 to 45, happy expression") == [
        "studio", "▁portrait", "▁of", "▁a", "▁woman", "▁aged", "▁35", "▁to", "▁45", ",", "▁happy", "▁expression"]


def test_words_of_users_are_one_token_each(tokenizer):
    assert [word for word in WORDS.split() if "-" not in word and len(tokenizer.tokenize(f"a {word}")) != 2] == []


@given(st.text(st.characters(codec="utf-8"), max_size=60).filter(lambda text: "<" not in text and "▁" not in text))
def test_any_text_comes_back_and_nothing_is_unknown(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text


def test_training_twice_gives_the_same_files(tmp_path):
    for name in ("one", "two"):
        train_tokenizer(CAPTIONS, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert "tokenizer.json" in names
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


def test_training_lower_cases(tmp_path):
    train_tokenizer([caption.upper() for caption in CAPTIONS], tmp_path / "upper")
    train_tokenizer([caption.lower() for caption in CAPTIONS], tmp_path / "lower")
    assert (tmp_path / "upper" / "tokenizer.json").read_bytes() == (tmp_path / "lower" / "tokenizer.json").read_bytes()


def test_auto_tokenizer_and_a_saved_copy_give_the_same_ids(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    expected = tokenizer(CAPTIONS).input_ids
    assert load_tokenizer(tmp_path)(CAPTIONS).input_ids == expected
    assert AutoTokenizer.from_pretrained(FOLDER)(CAPTIONS).input_ids == expected


def test_it_is_the_tokenizer_class_that_sana_pipeline_names(tokenizer, tmp_path):
    """SanaPipeline saves it, finds its class again in model_index.json, and encodes the same ids."""
    from diffusers import SanaPipeline

    parts = dict(text_encoder=None, vae=None, transformer=None, scheduler=None)
    SanaPipeline(tokenizer=tokenizer, **parts).save_pretrained(tmp_path)
    again = SanaPipeline.from_pretrained(tmp_path, **parts).tokenizer
    assert type(again) is type(tokenizer) and again.padding_side == "right"
    assert again(CAPTIONS).input_ids == tokenizer(CAPTIONS).input_ids
