from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from essa.errors import DataError
from essa.spec import ChatPromptSpec, TextPromptSpec
from workers.prompting import PromptEncoder
from workers.warm_start.pairs import encode_pair, read_pairs

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "hello"}


@pytest.fixture
def chat(tiny_model, tmp_path) -> PromptEncoder:
    folder = Path(shutil.copytree(tiny_model("llama"), tmp_path / "chat"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return PromptEncoder(folder, ChatPromptSpec())


@pytest.fixture
def text(tiny_model) -> PromptEncoder:
    return PromptEncoder(tiny_model("llama"), TextPromptSpec())


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hi", "completion": "hello"},
        {"messages": [USER, ANSWER]},
        {"prompt": [USER], "completion": [ANSWER]},
    ],
)
def test_standard_and_conversational_rows_give_the_same_pair(chat, row):
    pair = encode_pair(row, chat, 0)
    assert chat.tokenizer.decode(pair.prompt_ids) == "<user>hi<assistant>"
    assert chat.tokenizer.decode(pair.completion_ids[:-1]) == "hello"
    assert pair.completion_ids[-1] == chat.end_id
    assert len(pair) == len(pair.prompt_ids) + len(pair.completion_ids)


def test_file_is_read_in_order_past_blank_lines(text, tmp_path):
    file = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "1+1=", "completion": "2"}, {"prompt": "2+2=", "completion": "4"}]
    file.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n")
    pairs = read_pairs(file, text)
    assert [text.tokenizer.decode(pair.completion_ids[:-1]) for pair in pairs] == ["2", "4"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"prompt": "hi"}, r"needs `prompt` and `completion`.*has prompt"),
        ({"prompt": "hi", "completion": "  "}, "answer is empty"),
        ({"messages": [USER]}, "must end with the assistant's turn"),
        ({"messages": [ANSWER]}, "assistant's turn only"),
        ({"prompt": "hi", "completion": [ANSWER, ANSWER]}, "one assistant's turn"),
        ({"prompt": "hi", "completion": 7}, "`completion` must be a list"),
    ],
)
def test_unusable_row_is_named_by_its_line(chat, row, problem):
    with pytest.raises(DataError, match=f"line 5: .*{problem}"):
        encode_pair(row, chat, 4)


def test_missing_file_is_a_data_error(text, tmp_path):
    with pytest.raises(DataError, match=r"none\.jsonl"):
        read_pairs(tmp_path / "none.jsonl", text)
