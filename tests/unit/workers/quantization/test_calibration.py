"""From the rows of a calibration file to the token ids that are used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from essa.errors import DataError
from essa.spec import QuantizationSpec
from workers.quantization.calibration import chosen_texts, read_texts, texts_digest, token_sequences

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }};{% endfor %}"


@pytest.fixture(scope="module")
def plain_model(tiny_model) -> Path:
    return tiny_model("llama")


@pytest.fixture(scope="module")
def chat_model(plain_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(plain_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def write(tmp_path):
    def rows(*lines) -> Path:
        path = tmp_path / "texts.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts) + "\n")
        return path

    return rows


CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def test_every_shape_of_row_becomes_a_text(chat_model, write):
    path = write(
        {"text": "as it is"},
        {"messages": CHAT},
        {"prompt": "a", "answer": "b", "key": 3},
        {"prompt": "a", "completion": "b"},
        {"question": "a", "answer": "b"},
    )
    assert read_texts(path, chat_model) == ["as it is", *["<user>a;<assistant>b;"] * 4]


def test_without_a_chat_template_a_prompt_and_its_answer_are_paragraphs(plain_model, write):
    assert read_texts(write({"prompt": "a", "answer": "b"}), plain_model) == ["a\n\nb"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a"}, r"line 3: a calibration row needs `text`, or .*; this one has prompt"),
        ({"text": ""}, r"line 3: `text` must be text, it is empty"),
        ({"prompt": "a", "answer": 7}, r"line 3: `answer` must be text, it is 7"),
        ({"messages": [{"role": "user"}]}, r"line 3: `messages` must be a list"),
        ("{not json", r"line 3 is not JSON"),
    ],
)
def test_bad_row_is_named_by_its_line(chat_model, write, row, message):
    with pytest.raises(DataError, match=message):
        read_texts(write({"text": "fine"}, "", row), chat_model)


def test_messages_need_a_chat_template(plain_model, write):
    with pytest.raises(DataError, match=r"line 1: `messages` needs a chat template"):
        read_texts(write({"messages": CHAT}), plain_model)


def test_limit_takes_the_first_rows(plain_model, write):
    path = write({"text": "a"}, {"text": "b"}, {"other": 1})
    assert read_texts(path, plain_model, 2) == ["a", "b"]


def test_texts_are_spread_over_the_file():
    texts = [str(number) for number in range(10)]
    assert chosen_texts(texts, QuantizationSpec(samples=4)) == ["0", "2", "5", "7"]
    assert chosen_texts(texts, QuantizationSpec(samples=99)) == texts
    assert chosen_texts([], QuantizationSpec()) == []


def test_digest_tells_where_a_text_ends():
    assert texts_digest(["ab", "c"]) != texts_digest(["a", "bc"])
    assert texts_digest(["ab", "c"]) == texts_digest(("ab", "c"))


def test_sequences_are_cut_at_their_length_or_the_models_context(plain_model):
    texts = ["x" * 300, "yz"]
    short = token_sequences(texts, plain_model, QuantizationSpec(sequence_length=16))
    assert [len(ids) for ids in short] == [16, 2]
    whole = token_sequences(texts, plain_model, QuantizationSpec(sequence_length=200))
    assert [len(ids) for ids in whole] == [96, 2]


def test_start_token_of_a_chat_template_is_not_doubled(plain_model, tmp_path):
    from tokenizers.processors import TemplateProcessing

    folder = tmp_path / "model"
    shutil.copytree(plain_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"bos_token": "<start>"})
    start = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<start> $A", special_tokens=[("<start>", start)]
    )
    tokenizer.save_pretrained(folder)
    both = token_sequences(["<start>ab", "ab"], folder, QuantizationSpec())
    assert both[0] == both[1]
    assert both[0].count(start) == 1
