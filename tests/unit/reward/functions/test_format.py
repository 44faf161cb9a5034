from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward.functions.structure import Format
from reward.sample import Sample
from reward.spec import FormatSpec

R1 = {"tags": ("think", "answer"), "only": True}


def value(text: str, prompt: str = "", **settings: Any) -> float:
    (result,) = Format(FormatSpec(**settings)).score([Sample(text, prompt=prompt)])
    assert result.error is None
    return result.value


def test_a_reasoned_answer_in_its_two_tags_is_right() -> None:
    assert value("<think>\n2 + 2\n</think>\n\n<answer>4</answer>\n", **R1) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4",
        "<answer>4</answer>",
        "<think>2 + 2</think> 4",
        "<think>2 + 2</think><answer>4",
        "<think>2 + 2<answer>4</answer>",
        "<think>2 + 2</think><answer> \n</answer>",
        "<think></think><answer>4</answer>",
        "<answer>4</answer><think>2 + 2</think>",
        "<think>2<answer>4</answer></think>",
        "<think>2<answer>4</think></answer>",
        "<think>2</think><answer>4</answer><answer>5</answer>",
        "<think>1</think><think>2</think><answer>4</answer>",
        "<think>2</think><answer>4</answer></answer>",
        "<Think>2</Think><answer>4</answer>",
        "</think>2<think><answer>4</answer>",
        "Well: <think>2</think><answer>4</answer>",
        "<think>2</think> so <answer>4</answer>",
        "<think>2</think><answer>4</answer> Bye!",
    ],
)
def test_what_a_reasoned_answer_must_not_look_like(text: str) -> None:
    assert value(text, **R1) == 0


def test_text_outside_the_tags_is_fine_unless_only_is_asked_for() -> None:
    text = "Well: <think>2</think> so <answer>4</answer>."
    assert value(text, tags=R1["tags"]) == 1


@pytest.mark.parametrize("tail", ["<think>", "<think>\n", "user: 2 + 2? assistant: <think>\n"])
def test_a_tag_that_the_prompt_opens_belongs_to_the_completion(tail: str) -> None:
    text = "2 + 2</think><answer>4</answer>"
    assert value(text, **R1) == 0
    assert value(text, prompt=tail, **R1) == 1
    assert value(f"<think>{text}", prompt=tail, **R1) == 0
    assert value(text, prompt=f"{tail} Go on.", **R1) == 0


def test_any_order_is_fine_where_it_is_not_asked_for_but_no_overlap() -> None:
    turned = "<answer>4</answer><think>2</think>"
    assert value(turned, tags=R1["tags"]) == 0
    assert value(turned, tags=R1["tags"], ordered=False) == 1
    assert value("<think>2<answer>4</answer></think>", tags=R1["tags"], ordered=False) == 0


def test_a_share_counts_tags_their_order_and_only() -> None:
    share = {"require": "share", **R1}
    assert value("", **share) == 0
    assert value("<think>2</think> 4", **share) == 1 / 4
    assert value("<answer>4</answer><think>2</think>", **share) == 3 / 4
    assert value("So <think>2</think><answer>4</answer>", **share) == 3 / 4
    assert value("<think>2</think><answer>4</answer>", **share) == 1


@pytest.mark.parametrize(
    "line",
    [
        "# Key points",
        "###### Key points",
        "## KEY POINTS",
        "## **Key points**",
        "## Key points:",
        "## Key points ##",
        "Key points:",
        "Key points: one, two",
        "**Key points:** one",
        "**Key points**: one",
        "  key  points :",
    ],
)
def test_a_section_is_a_heading_or_a_name_with_a_colon(line: str) -> None:
    for text in (line, f"Intro.\n{line}\nMore.", f"Intro.\r\n{line}\r\nMore."):
        assert value(text, sections=("Key points",)) == 1


@pytest.mark.parametrize(
    "line",
    ["", "Key points", "#Key points", "See key points:", "# Key points of mine", "Keypoints:"],
)
def test_other_lines_are_no_section(line: str) -> None:
    assert value(f"Intro.\n{line}\nMore.", sections=("Key points",)) == 0


def test_a_heading_may_hold_signs_of_its_own() -> None:
    assert value("## C# (part 1)\n", sections=("C# (part 1)",)) == 1
    assert value("## C# apart 1a\n", sections=("C# (part 1)",)) == 0


def test_sections_are_counted_one_by_one_in_a_share() -> None:
    text = "# Plan\nx\n# Result\ny"
    assert value(text, sections=("Plan", "Risks"), require="share") == 1 / 2
    assert value(text, sections=("Plan", "Risks")) == 0
    assert value(text, sections=("Result", "Plan")) == 1


plain = st.text(alphabet="ab \n<>/", min_size=1, max_size=20).filter(
    lambda text: text.strip() and "<a>" not in text and "<b>" not in text and "</" not in text
)


@given(plain, plain, plain)
def test_whatever_stands_in_the_tags_is_right_and_outside_wrong(
    one: str, other: str, outside: str
) -> None:
    settings: dict[str, Any] = {"tags": ("a", "b"), "only": True}
    whole = f"<a>{one}</a><b>{other}</b>"
    assert value(whole, **settings) == 1
    assert value(f"{whole} {outside}", **settings) == 0


@given(st.text(alphabet="ab<>/\n#: *", max_size=60))
def test_all_is_kept_exactly_where_the_share_is_one(text: str) -> None:
    settings: dict[str, Any] = {"tags": ("a", "b"), "sections": ("a b",), "only": True}
    share = value(text, require="share", **settings)
    assert 0 <= share <= 1
    assert value(text, **settings) == float(share == 1)


@pytest.mark.parametrize("unit", ["<a>", "</a>", "*", "# ", "x y ", "x\n", "x ", " ", "\n"])
def test_long_degenerate_text_is_read_in_linear_time(unit: str) -> None:
    started = time.perf_counter()
    value(unit * 50_000, tags=("a",), sections=("x y", "x"), only=True)
    # Quadratic behaviour takes minutes here, so the slack for a busy machine is harmless.
    assert time.perf_counter() - started < 5
