"""Reward models in this process: a trained model scores as it was trained to, in any batch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from reward.errors import RewardConfigError, RewardError  # noqa: E402
from reward.spec.reward_model import RewardModelSpec  # noqa: E402
from tests.tiny_reward_model import (  # noqa: E402
    CONTEXT,
    LABELS,
    PLAIN,
    conversation,
    save,
    word_tokenizer,
)
from workers.machine.native_format import native_training  # noqa: E402
from workers.reward_models.classifier import Classifier  # noqa: E402
from workers.reward_models.conversation_tokens import ConversationTokens  # noqa: E402
from workers.reward_models.head import find_head  # noqa: E402

pytestmark = pytest.mark.engine

POLITE_TO_RUDE = [
    "please thanks kindly",
    "thanks the train left kindly",
    "the glad house",
    "the red house by noon and we saw it",
    "a lazy train",
    "stupid nonsense",
    "shut the house idiot it left stupid",
]
CONVERSATIONS = [conversation(answer) for answer in POLITE_TO_RUDE]


def classifier(folder: Path, **spec: Any) -> Classifier:
    spec = {"precision": "fp32", **spec}
    return Classifier(folder, RewardModelSpec(model=str(folder), **spec), "cpu")


def trunk_then_head(folder: Path, head: int) -> list[float]:
    """Scores read off the last token of every text by hand, one text at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores = []
    for turns in CONVERSATIONS:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.inference_mode():
            last = model.model(ids).last_hidden_state[0, -1]
            scores.append(float(model.score.weight[head] @ last))
    return scores


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
def test_politer_answers_score_higher_in_every_precision(
    tiny_reward_models: dict[str, Path], precision: str
) -> None:
    folder = tiny_reward_models["one_head"]
    scores = classifier(folder, precision=precision).score(CONVERSATIONS)
    assert scores == sorted(scores, reverse=True)
    assert np.allclose(scores, trunk_then_head(folder, 0), atol=0.2)


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_a_quantised_model_keeps_its_head_and_has_small_weights(
    tiny_reward_models: dict[str, Path], precision: str
) -> None:
    model = classifier(tiny_reward_models["one_head"], precision=precision)._model
    assert model.score.weight.dtype == getattr(torch, native_training("cpu"))
    stored = model.model.layers[0].mlp.up_proj.weight.dtype
    assert stored == (torch.int8 if precision == "int8" else torch.uint8)


@pytest.mark.parametrize("variant", ["two_heads", "one_head"])
def test_a_batch_scores_like_its_texts_alone_and_reads_the_last_token(
    tiny_reward_models: dict[str, Path], variant: str
) -> None:
    folder = tiny_reward_models[variant]
    model = classifier(folder, head=0)
    together = model.score(CONVERSATIONS)
    alone = [model.score([turns])[0] for turns in CONVERSATIONS]
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(together, trunk_then_head(folder, 0), atol=1e-5)


def test_without_a_padding_token_the_end_token_of_a_text_is_read(
    tiny_reward_models: dict[str, Path],
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_reward_models["one_head"])
    assert tokenizer.pad_token_id is None
    model = classifier(tiny_reward_models["one_head"])
    # As many last tokens as there are ids that padding would be chosen from first.
    rows = [[6, 7, end] for end in range(4)] + [[6, 7, 8, 9, 1]]
    together = model._forward(rows).logits
    alone = torch.cat([model._forward([row]).logits for row in rows])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_head_is_chosen_by_name_or_index(tiny_reward_models: dict[str, Path]) -> None:
    folder = tiny_reward_models["two_heads"]
    by_name = classifier(folder, head="length").score(CONVERSATIONS)
    assert by_name == classifier(folder, head=1).score(CONVERSATIONS)
    longest = max(range(len(POLITE_TO_RUDE)), key=lambda n: len(POLITE_TO_RUDE[n].split()))
    assert np.argmax(by_name) == longest
    assert by_name != classifier(folder, head="politeness").score(CONVERSATIONS)


@pytest.mark.parametrize("head", [None, 2, "wit"])
def test_a_head_that_is_open_or_unknown_is_refused_with_the_labels(
    tiny_reward_models: dict[str, Path], head: Any
) -> None:
    with pytest.raises(RewardConfigError, match=r"`head`.*0 'politeness', 1 'length'"):
        classifier(tiny_reward_models["two_heads"], head=head)


def test_a_model_that_sums_up_its_rewards_gives_the_sum_or_one_of_them() -> None:
    rewards = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    output = SimpleNamespace(rewards=rewards, score=rewards.sum(1), logits=rewards.sum(1))
    labels = dict(enumerate(LABELS))
    assert find_head(output, labels, None).of(output) == [3.0, 7.0]
    assert find_head(output, labels, 0).of(output) == [1.0, 3.0]
    assert find_head(output, labels, "length").of(output) == [2.0, 4.0]
    with pytest.raises(RewardConfigError, match="the outputs 0 '0', 1 '1'"):
        find_head(output, {}, 2)


def test_an_overlong_prompt_loses_its_beginning_and_the_answer_nothing(
    tiny_reward_models: dict[str, Path],
) -> None:
    answer = "thanks " * 10
    turns = conversation(answer, prompt=" ".join(PLAIN * 20))
    tokens = ConversationTokens(word_tokenizer(), 30)
    whole = ConversationTokens(word_tokenizer(), 10_000).encode(turns)
    assert tokens.encode(turns) == whole[-30:]
    # Its own ten words, the end token, and as much of the question as there is room for.
    with pytest.raises(RewardError, match=r"the answer alone takes 11 tokens.*reads 10"):
        ConversationTokens(word_tokenizer(), 10).encode(turns)
    assert len(ConversationTokens(word_tokenizer(), 11).encode(turns)) == 11


def test_conversations_beyond_the_context_of_the_model_are_cut_or_missing(
    tiny_reward_models: dict[str, Path],
) -> None:
    model = classifier(tiny_reward_models["one_head"])
    long_prompt = conversation("thanks kindly", prompt="the train " * CONTEXT)
    cut, missing, short = model.score(
        [long_prompt, conversation("thanks " * CONTEXT), conversation("thanks kindly")]
    )
    assert isinstance(cut, float)
    assert "the answer alone takes" in str(missing)
    assert short == pytest.approx(model.score([conversation("thanks kindly")])[0], abs=1e-5)


def test_text_that_no_tokenizer_takes_has_a_score_and_none_at_all_is_missing(
    tiny_reward_models: dict[str, Path],
) -> None:
    odd = classifier(tiny_reward_models["one_head"]).score(
        [conversation(text) for text in ("", "\ud800", "\x00", "🙂 🙂")]
    )
    assert all(isinstance(score, float) for score in odd)
    plain = classifier(tiny_reward_models["plain"], head=0)
    (nothing,) = plain.score([[{"role": "assistant", "content": " "}]])
    assert "no text" in str(nothing)


def test_a_conversation_that_the_template_refuses_is_missing_alone(
    tiny_reward_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_reward_models["one_head"], tmp_path / "picky")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        + tokenizer.chat_template
    )
    tokenizer.save_pretrained(folder)
    system = [{"role": "system", "content": "the train"}, *conversation("thanks")]
    refused, good = classifier(folder).score([system, conversation("thanks")])
    assert "no system turn" in str(refused)
    assert isinstance(good, float)


def test_without_a_template_turns_are_joined_by_blank_lines(
    tiny_model: Any, tiny_reward_models: dict[str, Path]
) -> None:
    by_character = AutoTokenizer.from_pretrained(tiny_model("llama"))
    system = {"role": "system", "content": "Be kind."}
    ids = ConversationTokens(by_character, 100).encode([system, *conversation("Thanks", "Hi")])
    assert by_character.decode(ids) == "Be kind.\n\nHi\n\nThanks"
    (score,) = classifier(tiny_reward_models["plain"], head=0).score([conversation("thanks")])
    assert isinstance(score, float)


def test_an_encoder_keeps_its_special_tokens_when_a_text_is_cut(tmp_path: Path) -> None:
    folder = save(_bert(), tmp_path / "bert", _bert_tokenizer())
    turns = conversation("thanks kindly", prompt=" ".join(PLAIN * 3))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = ConversationTokens(tokenizer, 10).encode(turns)
    assert len(ids) == 10
    words = tokenizer.convert_ids_to_tokens(ids)
    assert words[0] == "[CLS]"
    assert words[-3:] == ["thanks", "kindly", "[SEP]"]
    model = classifier(folder)
    together = model.score([turns, *CONVERSATIONS])
    alone = [model.score([one])[0] for one in [turns, *CONVERSATIONS]]
    assert np.allclose(together, alone, atol=1e-5)


def test_a_language_model_without_a_head_is_refused(
    tiny_model: Any, tiny_reward_models: dict[str, Path]
) -> None:
    with pytest.raises(RewardConfigError, match=r"no weights for score\.weight") as caught:
        classifier(tiny_model("llama"))
    assert "trust_remote_code" in str(caught.value)
    assert caught.value.detail["field"] == "model"


MODEL_CODE = """
from dataclasses import dataclass

import torch
from transformers import LlamaModel, LlamaPreTrainedModel
from transformers.utils import ModelOutput


@dataclass
class RewardsOutput(ModelOutput):
    rewards: torch.Tensor = None
    score: torch.Tensor = None


class LlamaWithRewards(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.regression = torch.nn.Linear(config.hidden_size, 3)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        last = attention_mask.sum(1) - 1
        rewards = self.regression(hidden[torch.arange(len(last)), last])
        return RewardsOutput(rewards=rewards, score=rewards.mean(1))
"""


@pytest.fixture
def model_with_code(tiny_reward_models: dict[str, Path], tmp_path: Path) -> Path:
    folder = shutil.copytree(tiny_reward_models["two_heads"], tmp_path / "with_code")
    weights = load_file(folder / "model.safetensors")
    del weights["score.weight"]
    weights["regression.weight"] = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    weights["regression.bias"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "modeling_rewards.py").write_text(MODEL_CODE)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_rewards.LlamaWithRewards"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_code_that_comes_with_a_model_runs_only_where_it_is_trusted(
    model_with_code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    with pytest.raises(RewardConfigError, match="trust_remote_code"):
        classifier(model_with_code)
    assert not (tmp_path / "modules").exists()
    parts = [
        classifier(model_with_code, head=head, trust_remote_code=True).score(CONVERSATIONS)
        for head in range(3)
    ]
    whole = classifier(model_with_code, trust_remote_code=True).score(CONVERSATIONS)
    assert np.allclose(np.mean(np.array(parts, float), axis=0), whole, atol=1e-5)
    small = classifier(model_with_code, trust_remote_code=True, precision="int8")
    assert small._model.regression.weight.dtype == getattr(torch, native_training("cpu"))
    assert np.allclose(small.score(CONVERSATIONS), whole, atol=0.1 * np.ptp(whole))


def _bert_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *PLAIN, "thanks", "kindly"]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
    )


def _bert() -> Any:
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=32,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=CONTEXT,
            num_labels=1,  # pyright: ignore[reportCallIssue]
            initializer_range=0.3,
        )
    )
