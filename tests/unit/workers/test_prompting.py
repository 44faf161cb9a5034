from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from essa.errors import DataError, SpecError
from essa.spec import ChatPromptSpec, TextPromptSpec
from workers.prompting import PromptEncoder, RowTemplate

TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools here') }}"
    "{% endif %}[{{ m['role'] }}]{{ m['content'] }};{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture
def chat_model(tiny_model, tmp_path) -> Path:
    folder = Path(shutil.copytree(tiny_model("llama"), tmp_path / "chat"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def test_standard_row_fills_the_user_turn(chat_model):
    encoder = PromptEncoder(chat_model, ChatPromptSpec(system="be kind", user="About {topic}: {n}"))
    text = encoder.prompt({"topic": "rain", "n": 3}, 0).text
    assert text == "[system]be kind;[user]About rain: 3;[assistant]"


def test_no_system_turn_is_added_where_none_is_asked_for(chat_model):
    assert PromptEncoder(chat_model, ChatPromptSpec()).prompt({"prompt": "hi"}, 0).text == (
        "[user]hi;[assistant]"
    )


@pytest.mark.parametrize("column", ["messages", "prompt"])
def test_conversational_row_is_used_as_it_is(chat_model, column):
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    encoder = PromptEncoder(chat_model, ChatPromptSpec(system="ignored"))
    assert encoder.prompt({column: turns}, 0).text == "[system]s;[user]u;[assistant]"


def test_text_prompt_is_plain_text_and_braces_can_be_written(tiny_model):
    encoder = PromptEncoder(tiny_model("llama"), TextPromptSpec(template="{{x}} {a}+{b}="))
    assert encoder.prompt({"a": 1, "b": 2.5}, 0).text == "{x} 1+2.5="


def test_token_ids_round_trip_and_an_answer_ends_with_the_end_token(tiny_model):
    encoder = PromptEncoder(tiny_model("llama"), TextPromptSpec())
    assert encoder.tokenizer.decode(encoder.token_ids("1+2=")) == "1+2="
    assert encoder.answer_ids("3") == [*encoder.token_ids("3"), encoder.tokenizer.eos_token_id]
    assert encoder.answer_ids("3", is_finished=False) == encoder.token_ids("3")


@pytest.mark.parametrize(("configured", "end"), [(5, 5), ([7, 1], 1), ([7, 8], 7), (None, 1)])
def test_answers_end_where_the_generation_configuration_stops(chat_model, configured, end):
    (chat_model / "generation_config.json").write_text(json.dumps({"eos_token_id": configured}))
    assert PromptEncoder(chat_model, ChatPromptSpec()).end_id == end


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"question": "q"}, "is missing"),
        ({"prompt": None, "question": "q"}, "is null"),
        ({"prompt": {"a": 1}, "question": "q"}, "is dict"),
    ],
)
def test_unusable_column_is_named_with_line_and_columns(tiny_model, row, problem):
    encoder = PromptEncoder(tiny_model("llama"), TextPromptSpec())
    with pytest.raises(DataError, match=rf"line 8: column 'prompt'.*{problem}.*question"):
        encoder.prompt(row, 7)


@pytest.mark.parametrize(
    "template",
    ["{a.__class__}", "{a[0]}", "{a!r}", "{a:>999999999}", "{}", "{a:{b}}"],
)
def test_template_with_more_than_column_names_is_refused(template):
    with pytest.raises(SpecError, match=r"data\.prompt\.user.*only plain column names"):
        RowTemplate(template, "data.prompt.user")


@pytest.mark.parametrize("template", ["{a", "a}"])
def test_malformed_template_is_refused(template):
    with pytest.raises(SpecError, match="not a format string"):
        RowTemplate(template, "data.prompt.user")


@pytest.mark.parametrize(
    "messages",
    [[], "hello", [{"role": "user"}], [{"role": "user", "content": ["part"]}], None],
)
def test_malformed_conversation_is_refused(chat_model, messages):
    with pytest.raises(DataError, match=r"line 1: `messages` must be a list"):
        PromptEncoder(chat_model, ChatPromptSpec()).prompt({"messages": messages}, 0)


def test_prompt_that_ends_with_the_assistant_is_refused(chat_model):
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(DataError, match="ends with the assistant's turn"):
        PromptEncoder(chat_model, ChatPromptSpec()).prompt({"messages": turns}, 0)


def test_refusal_of_the_chat_template_names_the_line(chat_model):
    turns = [{"role": "tool", "content": "u"}]
    with pytest.raises(DataError, match=r"line 3: .*no tools here"):
        PromptEncoder(chat_model, ChatPromptSpec()).prompt({"messages": turns}, 2)


def test_chat_prompt_of_a_model_without_template_is_refused(tiny_model):
    with pytest.raises(SpecError, match=r"no chat template.*data\.prompt\.type"):
        PromptEncoder(tiny_model("llama"), ChatPromptSpec())


def test_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"no tokenizer.*model\.path"):
        PromptEncoder(tmp_path, TextPromptSpec())
