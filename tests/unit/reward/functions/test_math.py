from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reward.answer.text import is_expression, is_readable, last_boxes, marked_tail, to_latex
from reward.base import RewardResult
from reward.errors import RewardConfigError
from reward.functions.math import Math
from reward.sample import Sample, samples_of
from reward.spec.math import MathSpec

ROOT = Path(__file__).parents[4]
DATA = Path(os.environ.get("ESSA_DATA_DIR") or ROOT.parent / "shared" / "data")


@pytest.fixture(scope="module")
def reward() -> Iterator[Math]:
    """One for all tests: a child takes a second to load the library."""
    reward = Math(MathSpec(timeout_s=30))
    yield reward
    reward.close()


def score(reward: Math, completion: str, answer: Any) -> RewardResult:
    return reward.score([Sample(completion, {"answer": answer})])[0]


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("0.5", r"\frac{1}{2}"),
        (r"\frac{1}{2}", "0.5"),
        (r"It is $\frac{1}{2}$.", "1/2"),
        ("It is 0.5.", r"$\frac12$"),
        ("0.3333333", "1/3"),
        (r"\boxed{x^2+1}", "x^2 + 1"),
        ("x^2 + 1", "x^2 + 1"),
        (r"\boxed{(x+1)^2}", "x^2+2x+1"),
        (r"\boxed{y = 2x + 3}", "y=2x+3"),
        (r"\boxed{\{3, 1, 2\}}", r"\{1,2,3\}"),
        ("The set is $\\{2,1\\}$.", "{1, 2}"),
        ("The interval is $(0, 1]$.", "(0,1]"),
        (r"x \in (-\infty,3)", r"(-\infty,3)"),
        ("50%", "50%"),
        ("50", "50%"),
        (r"50\%", "0.5"),
        ("18 dollars", "18"),
        ("$18.00", "18"),
        (r"$5\text{ cm}$", "5 cm"),
        (r"\boxed{120^\circ}", "120"),
        ("1,234", "1234"),
        ("1234567", "1,234,567"),
        ("1 3/4", "1.75"),
        ("100000", "1e5"),
        ("0.0000001", 1e-7),
        ("18", 18),
        ("18", 18.0),
        (r"\sqrt{2}", "sqrt(2)"),
        (r"\boxed{2\sqrt{3}}", r"\sqrt{12}"),
        (r"\boxed{3+4i}", "3+4i"),
        (r"$x=5$", "5"),
        (r"\boxed{\begin{pmatrix}1&2\\3&4\end{pmatrix}}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
        (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}"),
        ("**18**", "18"),
        ("total = $1,234.50", "1234.5"),
        ("The answer is 18.", "The answer is 18."),
        ("18", "2 * 9 = 18\n#### 18"),
    ],
)
def test_equal_answers_in_another_form_score_one(
    reward: Math, completion: str, answer: Any
) -> None:
    assert score(reward, completion, answer) == RewardResult(1.0)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("0.333", "1/3"),
        ("x^2 + 2", "x^2 + 1"),
        (r"\boxed{\{1,2\}}", r"\{1,2,3\}"),
        ("$[0, 1]$", "(0,1]"),
        ("(2,1)", "(1,2)"),
        ("40%", "50%"),
        ("6 cm", "5 cm"),
        ("3", "-3"),
        (r"\boxed{\begin{pmatrix}1&2\\3&5\end{pmatrix}}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
        (r"\boxed{\text{Anna}}", r"\text{Evelyn}"),
        ("$-\\infty$", r"\infty"),
        ("no idea", "7"),
        ("", "7"),
        ("seven", "7"),
    ],
)
def test_other_answers_score_zero(reward: Math, completion: str, answer: Any) -> None:
    assert score(reward, completion, answer) == RewardResult(0.0)


@pytest.mark.parametrize(
    "completion",
    [
        r"First \boxed{3}, then \boxed{7}, not 8.",
        r"\boxed{7}, so the \boxed{answer",
        r"$x = \boxed{\frac{14}{2}}$.",
        r"First \boxed{3}. No, that was a mistake, let me try again: \boxed{7}, not 8.",
        r"\boxed{7} #### 8",
        "2 and 5.\n#### 7",
        "#### Step 1\n2 + 5\n#### Step 2\nThe final answer is 7, not 8.",
        "The final answer is $7$. I hope it is correct. 9",
        "Answer: 7 (and 8 would be wrong)",
        "3 + 4 = 7",
        "first 3, then 7",
    ],
)
def test_where_the_answer_is_found(reward: Math, completion: str) -> None:
    assert score(reward, completion, "7").value == 1


def test_boxes_beside_one_another_are_one_answer(reward: Math) -> None:
    assert score(reward, r"\boxed{3} and \boxed{7}", r"\{3,7\}").value == 1
    assert score(reward, r"\boxed{3} and \boxed{7}", "7").value == 0


def test_only_boxed_answers_count_where_that_is_asked_for() -> None:
    reward = Math(MathSpec(boxed_only=True, timeout_s=30))
    rows = [{"answer": "7"}] * 3
    results = reward.score(samples_of([r"\boxed{7}", "#### 7", "final answer is 7"], rows))
    assert [result.value for result in results] == [1, 0, 0]
    reward.close()


@pytest.mark.parametrize(
    "answer", ["", " ", "####", "5 #### ", "seven", "#### eighteen", "?", "..."]
)
def test_a_reference_that_cannot_be_read_is_refused_and_missing(reward: Math, answer: str) -> None:
    with pytest.raises(RewardConfigError, match=r"without anything mathematical.*reward.reference"):
        reward.check_row({"answer": answer})
    result = score(reward, "7", answer)
    assert result.missing
    assert "reward.reference" in (result.error or "")


@pytest.mark.parametrize("answer", [r"\frac{", r"$\unknowncommand{$"])
def test_a_reference_that_only_the_library_finds_unreadable_is_missing(
    reward: Math, answer: str
) -> None:
    result = score(reward, "7", answer)
    assert result.missing
    assert "nothing mathematical in the reference" in (result.error or "")


def gsm8k_rows() -> list[dict[str, Any]]:
    path = DATA / "gsm8k" / "test.jsonl"
    if not path.is_file():
        pytest.skip("no gsm8k/test.jsonl; set ESSA_DATA_DIR to the folder that holds gsm8k/")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_every_gsm8k_answer_equals_itself_and_not_its_successor(reward: Math) -> None:
    rows = gsm8k_rows()
    assert len(rows) == 1319
    for row in rows:
        reward.check_row(row)
    finals = [row["answer"].rpartition("####")[2].strip() for row in rows]
    plus_one = [int(final.replace(",", "")) + 1 for final in finals]
    for right in ([row["answer"] for row in rows], [rf"so \boxed{{{final}}}" for final in finals]):
        assert reward.score(samples_of(right, rows)) == [RewardResult(1.0)] * 1319
    for wrong in ("#### {:d}", r"so \boxed{{{:,d}}}"):
        texts = [wrong.format(number) for number in plus_one]
        assert reward.score(samples_of(texts, rows)) == [RewardResult(0.0)] * 1319


HOSTILE = {
    "tower": "$9^{9^{9^9}}$",
    "plain tower": "9**9**9",
    "factorial": r"\boxed{100000000!}",
    "huge power": r"\boxed{10^{10^{10}}}",
    "expansion": r"\boxed{(x+y+z+w)^{60}}",
    "nested fractions": r"\boxed{" + r"\frac{1}{1+" * 300 + "2" + "}" * 301,
    "brackets": "$" + "(" * 2000 + "1" + ")" * 2000 + "$",
    "open braces": r"\boxed{" * 2000,
    "sum": r"$\sum_{n=1}^{1000000000} n^2$",
    "digits": r"\boxed{" + "9" * 100_000 + "}",
    "dollars": "$" * 5000,
    "words": "answer " * 5000,
    "plus": "1+" * 5000 + "1",
}


def test_hostile_answers_end_in_time_without_a_point_and_spare_the_others() -> None:
    reward = Math(MathSpec(timeout_s=1.5))
    texts = ["18", *HOSTILE.values(), "18"]
    began = time.monotonic()
    first, *results, last = reward.score(samples_of(texts, [{"answer": "18"}] * len(texts)))
    # Every item has its limit, and a child that was killed is started again.
    assert time.monotonic() - began < 8 * len(texts)
    assert (first.value, last.value) == (1, 1)
    for name, result in zip(HOSTILE, results, strict=True):
        assert result.missing or result.value == 0, name
        assert result.error is None or "raise reward.timeout_s" in result.error, result.error
    assert results[0].missing
    reward.close()


def test_a_hostile_reference_is_missing() -> None:
    reward = Math(MathSpec(timeout_s=0.5))
    assert "reward.timeout_s" in (score(reward, "18", "9^{9^{9^9}}").error or "")
    reward.close()


def test_the_service_itself_loads_no_sympy() -> None:
    code = (
        "import sys\n"
        "from reward.functions.math import Math\n"
        "from reward.sample import Sample\n"
        "from reward.spec import MathSpec\n"
        "reward = Math(MathSpec(timeout_s=30))\n"
        "print(reward.score([Sample('1/2', {'answer': 0.5})])[0].value)\n"
        "print([name for name in ('sympy', 'math_verify') if name in sys.modules])\n"
        "reward.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split("\n")[:2] == ["1.0", "[]"]


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reward.extra.find_spec", lambda name: None)
    with pytest.raises(RewardConfigError, match=r"pip install 'essa-service\[rewards\]'"):
        Math(MathSpec())


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        (r"\boxed{1} \boxed {\{2\}}", r"\boxed{1} \boxed {\{2\}}"),
        (r"\boxed{1} but $\boxed{2}$, $\boxed{3}$.", r"\boxed{2}$, $\boxed{3}"),
        (r"\boxed{a\boxed{b}c} d", r"\boxed{a\boxed{b}c}"),
        (r"\boxed{1", None),
        ("1", None),
    ],
)
def test_boxes_are_found_by_their_braces(text: str, boxes: str | None) -> None:
    assert last_boxes(text) == boxes


def test_a_mark_counts_in_the_last_line_only() -> None:
    assert marked_tail("a\n#### 5\n") == "5"
    assert marked_tail("#### 5\nand so on") == "#### 5\nand so on"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("x^2 + 1", True), ("xy+5", True), ("It is 5", False), ("$5$", False), ("a\nb", False)],
)
def test_an_expression_is_told_from_a_sentence(text: str, is_one: bool) -> None:
    assert is_expression(text) == is_one


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("$18.", "$18$"),
        ("5 square feet", "$5$"),
        ("2 1/3", r"$2\frac{1}{3}$"),
        ("3e-2", r"$3 \cdot 10^{-2}$"),
        ("5%", r"$5\%$"),
        ("2**x", "$2^x$"),
    ],
)
def test_plain_notation_becomes_latex(text: str, latex: str) -> None:
    assert to_latex(text) == latex


@pytest.mark.parametrize("text", ["x", r"\pi", "π", r"\text{red}", "2 apples", "A"])
def test_what_may_be_mathematics_passes_the_cheap_look(text: str) -> None:
    assert is_readable(text)
