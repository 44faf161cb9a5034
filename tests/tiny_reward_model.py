"""A reward model that is small and real: it learns in seconds to tell polite from rude answers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForSequenceClassification, PreTrainedTokenizerFast

POLITE: tuple[str, ...] = ("please", "thanks", "kindly", "welcome", "sorry", "glad")
RUDE: tuple[str, ...] = ("stupid", "idiot", "shut", "nonsense", "lazy", "awful")
PLAIN: tuple[str, ...] = (
    "the",
    "train",
    "left",
    "a",
    "red",
    "house",
    "by",
    "noon",
    "and",
    "we",
    "saw",
    "it",
)
LABELS = ("politeness", "length")
CONTEXT = 64
STEPS = 120
TEMPLATE = (
    "{% for m in messages %}<turn>{{ m['role'] }} {{ m['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant {% endif %}"
)


def conversation(answer: str, prompt: str = "the train") -> list[dict[str, str]]:
    """One question and its answer."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def word_tokenizer(*, has_template: bool = True, has_padding: bool = True) -> Any:
    """One token a word."""
    specials = ["<pad>", "<end>", "<unknown>", "<turn>"]
    words = [*specials, "user", "assistant", *POLITE, *RUDE, *PLAIN]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unknown>",
        eos_token="<end>",
        extra_special_tokens=["<turn>"],
        chat_template=TEMPLATE if has_template else None,
        **({"pad_token": "<pad>"} if has_padding else {}),
    )


def trained_model() -> LlamaForSequenceClassification:
    """Two outputs: polite words less rude ones, and the length of the answer in tens of words."""
    tokenizer = word_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        problem_type="regression",
    )
    threads = torch.get_num_threads()
    # Threads that share so little work wait for each other most of the time.
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = LlamaForSequenceClassification(config).float()
            _train(model, tokenizer)
    finally:
        torch.set_num_threads(threads)
    return model.eval()


def save_variants(root: Path) -> dict[str, Path]:
    """Write the trained model as three folders.

    `two_heads` has both outputs; `one_head` politeness alone, and no padding token in model or
    tokenizer; `plain` both outputs and no chat template.
    """
    model = trained_model()
    return {
        "two_heads": save(model, root / "two_heads", word_tokenizer()),
        "one_head": save(_first_head(model), root / "one_head", word_tokenizer(has_padding=False)),
        "plain": save(model, root / "plain", word_tokenizer(has_template=False)),
    }


def save(model: Any, folder: Path, tokenizer: Any) -> Path:
    """Write a model folder."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _first_head(model: LlamaForSequenceClassification) -> LlamaForSequenceClassification:
    config = LlamaConfig(**{**model.config.to_dict(), "id2label": {0: LABELS[0]}})
    config.label2id, config.pad_token_id = {LABELS[0]: 0}, None
    alone = LlamaForSequenceClassification(config).float()
    weights = model.state_dict()
    alone.load_state_dict({**weights, "score.weight": weights["score.weight"][:1]})
    return alone


def _train(model: LlamaForSequenceClassification, tokenizer: Any) -> None:
    draw = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        answers = [_random_answer(draw) for _ in range(32)]
        texts = [
            tokenizer.apply_chat_template(conversation(" ".join(words)), tokenize=False)
            for words in answers
        ]
        batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        targets = torch.tensor([_targets(words) for words in answers])
        model(**batch, labels=targets).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _random_answer(draw: random.Random) -> list[str]:
    tone = draw.choice([POLITE, RUDE])
    words = draw.choices(tone, k=draw.randint(0, 3)) + draw.choices(PLAIN, k=draw.randint(0, 12))
    draw.shuffle(words)
    return words


def _targets(words: list[str]) -> tuple[float, float]:
    tone = sum(word in POLITE for word in words) - sum(word in RUDE for word in words)
    return float(tone), len(words) / 10
