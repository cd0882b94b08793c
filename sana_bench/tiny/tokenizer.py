"""The tokenizer of tiny-sana and of the small CLIP: a byte-fallback BPE, as Gemma has it, of captions and plain words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

MAX_VOCAB_SIZE = 2048
"""An upper bound: merges run out before it, when every word is one token."""
SPECIAL_TOKENS = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
"""Gemma's names at Gemma's ids, 0 to 4."""
BYTE_TOKENS = tuple(f"<0x{value:02X}>" for value in range(256))
"""What a character that no merge knows is written with, so that nothing is unknown."""
SPACE = "▁"

WORDS = """
a an the and or of in on at with without to from by for near under over behind beside between through against her his
their its this that these some two three four five six seven eight nine ten one no not very is are being having who while
as person people woman women man men girl boy child children baby teenager adult lady gentleman human model figure couple
family group crowd friend friends mother father daughter son sister brother grandmother grandfather twins stranger young
old elderly middle-aged aged senior mature years age portrait photo photograph photography picture image shot headshot
selfie closeup close-up full-body half-body upper body lower studio casual professional candid amateur film cinematic
editorial fashion documentary street realistic photorealistic hyperrealistic detailed detail sharp focus blurred blurry
bokeh background foreground plain simple clean natural soft hard bright dark dim warm cold golden hour sunlight daylight
moonlight light lighting backlit shadow shadows lens camera mm 35mm 50mm 85mm 4k 8k hdr high low quality resolution view
angle side front back left right profile facing looking turned toward towards away camera viewer up down straight smiling
smile laughing laugh crying frowning serious neutral happy sad angry surprised disgusted scared afraid confused smug
flirty thoughtful pensive exhausted tired shocked playful determined calm relaxed excited worried proud bored shy
expression emotion mood open closed mouth eyes eye teeth lips nose ear ears cheek cheeks chin jaw forehead brow eyebrows
face head neck shoulder shoulders chest back arm arms elbow hand hands palm palms finger fingers thumb thumbs fist wrist
nails leg legs knee knees foot feet toes skin tone freckles wrinkles makeup lipstick scar tattoo tattoos beard stubble
mustache moustache goatee bald shaved hair hairstyle short long medium medium-length straight wavy curly curled tightly
braided braids bun ponytail bangs fringe afro dreadlocks pixie bob sleek glossy thick thin slicked-back tied loose parting
center black brown blond blonde red ginger grey gray white silver blue green yellow orange purple violet pink gold beige
tan light deep pale olive ebony fair african asian european indian hispanic latina latino arab caucasian middle eastern
east south west north american chinese japanese korean mexican brazilian nigerian egyptian french german italian shirt
t-shirt tee blouse sweater hoodie jacket coat denim leather cotton wool silk linen jeans trousers pants shorts skirt dress
suit tie scarf hat cap beanie helmet glasses sunglasses gloves belt boots shoes sneakers sandals heels barefoot socks
uniform swimsuit apron vest cardigan blazer kimono sari hijab turban jewelry earrings necklace bracelet ring watch bag
backpack umbrella wearing dressed clothes outfit standing sitting walking running jumping dancing kneeling lying leaning
crouching stretching waving pointing holding carrying reaching clapping praying hugging shaking thumbs-up victory sign
peace gesture ok crossed folded raised spread clasped resting touching playing reading writing cooking eating drinking
painting drawing typing talking singing working sleeping climbing swimming cycling riding driving fishing throwing
catching lifting yoga sport football soccer basketball tennis guitar piano violin book phone laptop cup mug glass coffee
tea ball flower flowers pen pencil brush knife apple bread balloon microphone cane dog cat horse bird car bicycle bike
train bus boat chair table desk sofa bench bed door window wall floor room living bedroom kitchen bathroom office
classroom library museum hospital gym cafe restaurant bar shop store market street road bridge park garden forest woods
tree trees grass field meadow mountain mountains hill river lake sea ocean beach sand desert snow rain fog sky cloud
clouds sun moon stars night day morning evening sunset sunrise summer winter spring autumn city town village house
building castle church temple stairs outdoor outdoors indoor indoors inside outside doctor nurse teacher student engineer
scientist chef farmer worker builder police officer soldier firefighter artist musician singer dancer actor athlete lawyer
pilot businesswoman businessman ceo secretary cleaner mechanic carpenter baker tall short slim muscular athletic heavy
small large big little beautiful handsome pretty cute strong weak rich poor new modern vintage ancient colorful colourful
monochrome empty busy quiet texture pattern striped checked floral
"""
"""What a user may write about people beyond the captions, one token or two each."""


def train_tokenizer(captions: Sequence[str], folder: Path) -> None:
    """Train on lower-cased `captions` and WORDS and write a `GemmaTokenizer` folder. The same input gives the same files."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import GemmaTokenizer

    learner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    learner.normalizer = normalizers.Replace(" ", SPACE)
    learner.pre_tokenizer = pre_tokenizers.Split(Regex(f"{SPACE}?[^\\W_]+|{SPACE}|[^\\w]"), behavior="isolated")
    trainer = trainers.BpeTrainer(vocab_size=MAX_VOCAB_SIZE, show_progress=False,
                                  special_tokens=[*SPECIAL_TOKENS, *BYTE_TOKENS])
    # a leading space, because inside a prompt that is how every word but the first begins
    words = [f" {word}" for word in WORDS.split()]
    learner.train_from_iterator([caption.lower().strip() for caption in captions] + words, trainer)
    vocab, merges = _vocab_and_merges(learner)
    tokenizer = GemmaTokenizer(vocab=vocab, merges=merges, add_bos_token=True, padding_side="right")
    tokenizer.save_pretrained(folder)


def _vocab_and_merges(learner) -> tuple[dict[str, int], list[tuple[str, str]]]:
    model = json.loads(learner.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]
