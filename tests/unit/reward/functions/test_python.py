"""Functions of users, as they are written for TRL, verl and OpenAI's graders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from reward.base import RewardResult
from reward.errors import RewardConfigError
from reward.functions.python import Python
from reward.registry import build_reward
from reward.resources import RewardPolicy, RewardResources
from reward.sample import Sample
from reward.spec import RewardSpec
from reward.spec.code import PythonSpec

ALLOWED = RewardResources(RewardPolicy(allow_python=True))

TRL_FILE = '''
import re
from dataclasses import dataclass

@dataclass
class Found:
    text: str

def _boxed(text):
    match = re.search(r"\\\\boxed\\{(.*?)\\}", text)
    return Found(match.group(1) if match else "")

def accuracy_reward(prompts, completions, answer, **kwargs):
    """Reward for the boxed answer; nothing to say about rows without one."""
    scores = []
    for prompt, completion, reference in zip(prompts, completions, answer):
        if reference is None:
            scores.append(None)
        else:
            scores.append(1.0 if _boxed(completion).text == reference else 0.0)
    return scores
'''

VERL_FILE = """
def extract_solution(solution_str, method="strict"):
    head, mark, tail = solution_str.rpartition("####")
    return tail.strip() if mark else None

def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    if data_source != "openai/gsm8k":
        raise NotImplementedError(f"no rule for {data_source}")
    answer = extract_solution(solution_str)
    bonus = (extra_info or {}).get("bonus", 0)
    if answer is None:
        return 0
    right = answer == ground_truth
    return {"score": bonus + (1.0 if right else 0.1), "acc": right}
"""

GRADER_FILE = """
from typing import Any

def grade(sample: dict[str, Any], item: dict[str, Any]) -> float:
    said = sample["choices"][0]["message"]["content"]
    assert said == sample["output_text"]
    if "output_json" in sample:
        return 2.0 * (sample["output_json"]["color"] == item["color"])
    return float(item["color"] in said)
"""

Build = Callable[..., Python]


@pytest.fixture
def build() -> Iterator[Build]:
    opened: list[Python] = []

    def build_python(source: str | None = None, **settings: Any) -> Python:
        spec = PythonSpec(source=source, **settings)
        opened.append(Python(spec, "reward", ALLOWED))
        return opened[-1]

    yield build_python
    for reward in opened:
        reward.close()


def values(results: list[RewardResult]) -> list[float]:
    assert [result.error for result in results] == [None] * len(results)
    return [result.value for result in results]


def test_a_trl_file_is_called_once_with_lists_and_none_is_missing(build: Build) -> None:
    reward = build(TRL_FILE)
    right, wrong, none = reward.score(
        [
            Sample(r"so \boxed{4}", {"answer": "4"}, prompt="2+2?"),
            Sample(r"so \boxed{5}", {"answer": "4"}, prompt="2+2?"),
            Sample("no idea", {"answer": None}, prompt="?"),
        ]
    )
    assert values([right, wrong]) == [1.0, 0.0]
    assert none.missing
    assert "no score" in (none.error or "")


def test_a_trl_function_is_given_the_whole_batch_and_the_columns_it_asks_for(build: Build) -> None:
    reward = build(
        "def f(completions, level, trainer_state=1):\n"
        "    assert trainer_state is None\n"
        "    return [len(completions) * 10 + n for n in level]\n"
    )
    samples = [Sample("x", {"level": n, "other": "kept out"}) for n in range(3)]
    assert values(reward.score(samples)) == [30, 31, 32]


def test_a_trl_function_sees_messages_where_the_prompt_is_a_conversation(build: Build) -> None:
    reward = build(
        "def f(prompts, completions, **kwargs):\n"
        "    assert prompts[0][-1]['role'] == 'user'\n"
        "    assert completions[0][0]['role'] == 'assistant'\n"
        "    return [float(len(c[0]['content'])) for c in completions]\n"
    )
    talk = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"})
    samples = [Sample(text, messages=talk, prompt="<s>Hi") for text in ("abc", "de")]
    assert values(reward.score(samples)) == [3, 2]


def test_plain_prompts_are_text_for_a_trl_function(build: Build) -> None:
    reward = build("def f(prompts, completions):\n    return [p.count('?') for p in prompts]\n")
    samples = [Sample("a", prompt="??"), Sample("b", prompt="x")]
    assert values(reward.score(samples)) == [2, 0]


def test_asynchronous_functions_are_awaited(build: Build) -> None:
    reward = build(
        "import asyncio\n"
        "async def f(completions, **kwargs):\n"
        "    await asyncio.sleep(0.01)\n"
        "    return [len(c) for c in completions]\n"
    )
    assert values(reward.score([Sample("abc"), Sample("")])) == [3, 0]


@pytest.mark.parametrize(
    ("what", "setting"),
    [
        ("raise RuntimeError('no')", "RuntimeError: no (line 4 of reward.source)"),
        ("while True: pass", "reward.timeout_s"),
        ("__import__('os')._exit(1)", "ended with code 1"),
    ],
)
def test_one_answer_that_breaks_a_batch_does_not_take_it_along(
    build: Build, what: str, setting: str
) -> None:
    reward = build(
        "def f(completions, **kwargs):\n"
        "    for c in completions:\n"
        "        if c == 'bad':\n"
        f"            {what}\n"
        "    return [len(c) for c in completions]\n",
        timeout_s=0.5,
        max_retries=0,
    )
    first, bad, last = reward.score([Sample("a"), Sample("bad"), Sample("ccc")])
    assert values([first, last]) == [1, 3]
    assert bad.missing
    assert setting in (bad.error or "")


def test_a_batch_has_the_time_of_all_its_items(build: Build) -> None:
    reward = build(
        "import time\n"
        "def f(completions, **kwargs):\n"
        "    time.sleep(1.2)\n"
        "    return [len(completions)] * len(completions)\n",
        timeout_s=1,
    )
    assert values(reward.score([Sample("x")] * 4)) == [4] * 4


@pytest.mark.parametrize("returned", ["[1.0]", "1.0", "'ab'", "None", "[1.0, 'x']", "[[1], [2]]"])
def test_a_trl_function_that_returns_no_list_of_numbers_is_missing_but_for_what_it_scored(
    build: Build, returned: str
) -> None:
    results = build(f"def f(completions):\n    return {returned}\n").score([Sample("a")] * 2)
    if returned == "[1.0]":
        # Right for one answer, if not for two.
        assert values(results) == [1, 1]
    else:
        assert all(result.missing and "reward: " in (result.error or "") for result in results)


def test_a_verl_file_scores_each_answer_by_number_or_dictionary(build: Build) -> None:
    reward = build(VERL_FILE)
    row = {"data_source": "openai/gsm8k", "reward_model": {"ground_truth": "18"}}
    reward.check_row(row)
    flat = {"data_source": "openai/gsm8k", "ground_truth": "18", "extra_info": {"bonus": 2}}
    reward.check_row(flat)
    other = {**flat, "data_source": "math"}
    right, wrong, none, bonus, failed = reward.score(
        [
            Sample("#### 18", row),
            Sample("#### 19", row),
            Sample("eighteen", row),
            Sample("#### 18", flat),
            Sample("#### 18", other),
        ]
    )
    assert values([right, wrong, none, bonus]) == [1.0, 0.1, 0.0, 3.0]
    assert failed.error == (
        "reward: NotImplementedError: no rule for math (line 8 of reward.source)"
    )


@pytest.mark.parametrize(
    ("row", "column"),
    [({"data_source": "x"}, "ground_truth"), ({"ground_truth": "1"}, "data_source")],
)
def test_a_row_that_lacks_what_a_verl_function_needs_is_refused(
    build: Build, row: dict[str, Any], column: str
) -> None:
    with pytest.raises(RewardConfigError, match=rf"no column '{column}'.*reward\.function"):
        build(VERL_FILE).check_row(row)


def test_a_verl_function_may_leave_parameters_out(build: Build) -> None:
    reward = build("def compute_score(solution_str, ground_truth, strict=True):\n    return 1\n")
    reward.check_row({"ground_truth": "x"})
    assert values(reward.score([Sample("y", {"ground_truth": "x", "data_source": "z"})])) == [1]


def test_an_openai_grader_is_given_sample_and_row(build: Build) -> None:
    reward = build(GRADER_FILE)
    row = {"color": "red"}
    samples = [Sample(text, row) for text in ("red it is", '{"color": "red"}', "blue", "{red")]
    assert values(reward.score(samples)) == [1, 2, 0, 1]


def test_a_file_on_the_server_is_read_and_named_in_errors(build: Build, tmp_path: Path) -> None:
    file = tmp_path / "graders.py"
    file.write_text("def grade(sample, item):\n    return 1 / item['n']\n")
    reward = build(path=str(file))
    good, bad = reward.score([Sample("", {"n": 2}), Sample("", {"n": 0})])
    assert values([good]) == [0.5]
    assert bad.error == f"reward: ZeroDivisionError: division by zero (line 2 of {file})"


def test_the_score_of_a_number_that_is_not_finite_is_missing(build: Build) -> None:
    (result,) = build("def grade(sample, item):\n    return float('inf')\n").score([Sample("")])
    assert result.missing


@pytest.mark.parametrize("returned", ["'1.0'", "None", "{}", "[]", "1j", "'x' * 10**6"])
def test_what_is_no_number_is_missing(build: Build, returned: str) -> None:
    (result,) = build(f"def grade(sample, item):\n    return {returned}\n").score([Sample("")])
    assert result.missing
    assert "TypeError" in (result.error or "")
    assert len(result.error or "") < 700


def test_a_row_that_json_cannot_carry_is_one_missing_score(build: Build) -> None:
    reward = build("def f(completions, thing):\n    return [1.0] * len(completions)\n")
    good, bad = reward.score([Sample("", {"thing": 1}), Sample("", {"thing": object()})])
    assert values([good]) == [1]
    assert "JSON" in (bad.error or "")


def test_a_trl_parameter_without_default_is_a_column_every_row_must_have(build: Build) -> None:
    reward = build(TRL_FILE)
    reward.check_row({"answer": "4"})
    with pytest.raises(RewardConfigError, match=r"no column 'answer'.*reward\.function"):
        reward.check_row({"question": "?"})


def test_the_operator_has_to_allow_it() -> None:
    spec = PythonSpec(source="def grade(sample, item):\n    return 1\n")
    with pytest.raises(RewardConfigError, match="ESSA_REWARD_PYTHON") as caught:
        build_reward(spec, "reward.components[1].reward")
    assert caught.value.detail["field"] == "reward.components[1].reward.type"


def test_the_file_is_not_touched_where_it_is_not_allowed(tmp_path: Path) -> None:
    spec = PythonSpec(path=str(tmp_path / "absent.py"))
    with pytest.raises(RewardConfigError, match="ESSA_REWARD_PYTHON"):
        build_reward(spec)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "def grade(sample, item)\n  return 1"}, r"line 1: expected ':'"),
        ({"source": "x = 1\nreturn x"}, r"line 2: 'return' outside function"),
        ({"source": "(" * 5000}, r"not valid Python"),
        ({"source": "def helper(x):\n    return x"}, r"no function of a known form.*helper"),
        ({"source": "x = 1"}, r"its functions: none"),
        (
            {"source": "def grade(sample, item): return 1", "function": "score"},
            r"reward\.function is 'score'.*its functions: grade",
        ),
        (
            {"source": "def a(completions): ...\ndef b(completions): ..."},
            r"several functions.*a, b; name the one to use in reward\.function",
        ),
        ({"source": "def f(text): ...", "function": "f"}, r"no known form.*set reward\.style"),
        ({"source": "def grade(sample, item): ...", "style": "trl"}, r"no function of the style"),
        (
            {"source": "def f(completions, completion_ids): ..."},
            r"f needs completion_ids, which.*not given here",
        ),
        (
            {"source": "def compute_score(solution_str, ground_truth, config): ..."},
            r"compute_score needs config",
        ),
        ({"path": "/no/such/file.py"}, r"reward\.path is '/no/such/file.py'.*cannot be read"),
    ],
)
def test_code_that_cannot_work_is_refused_before_anything_runs(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(RewardConfigError, match=message):
        Python(PythonSpec(**settings), "reward", ALLOWED)


def test_building_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    source = f"open({str(file)!r}, 'w')\ndef grade(sample, item):\n    return 1\n"
    Python(PythonSpec(source=source), "reward", ALLOWED)
    assert not file.exists()


def test_the_usual_name_is_taken_among_several_that_fit(build: Build) -> None:
    source = "def other(sample, item):\n    return 1\ndef grade(sample, item):\n    return 2\n"
    assert values(build(source).score([Sample("")])) == [2]
    assert values(build(source, function="other").score([Sample("")])) == [1]


def test_a_style_that_is_named_needs_no_known_parameters(build: Build) -> None:
    source = "def judge(answer, row):\n    return len(answer['output_text'])\n"
    assert values(build(source, function="judge", style="openai").score([Sample("abc")])) == [3]


@pytest.mark.parametrize(
    ("source", "settings", "setting"),
    [
        ("time.sleep(60)", {"timeout_s": 0.5}, "reward.timeout_s"),
        ("bytearray(10**9)", {"memory_mb": 200}, "reward.memory_mb"),
        (
            "[subprocess.Popen(['sleep', '60']) for _ in range(9)], time.sleep(60)",
            {"max_processes": 4},
            "reward.max_processes",
        ),
    ],
)
def test_every_limit_is_a_setting_and_named_when_it_is_reached(
    build: Build, source: str, settings: dict[str, Any], setting: str
) -> None:
    reward = build(
        f"import subprocess, time\ndef grade(sample, item):\n    return {source}\n", **settings
    )
    began = time.monotonic()
    (result,) = reward.score([Sample("")])
    assert result.missing
    assert setting in (result.error or "")
    assert time.monotonic() - began < 15


def test_a_closed_reward_can_be_used_again(build: Build) -> None:
    reward = build(GRADER_FILE)
    for _ in range(2):
        assert values(reward.score([Sample("red", {"color": "red"})])) == [1]
        reward.close()
    reward.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "give `source` or `path`, one of them; given: neither"),
        ({"source": "x", "path": "y"}, "give `source` or `path`, one of them; given: both"),
        ({"source": "x", "timeout_s": 0}, "greater than 0"),
        ({"source": "x", "style": "ppo"}, "'auto', 'trl', 'verl' or 'openai'"),
        ({"source": "x" * 300_000}, "at most 262144 characters"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(RewardSpec).validate_python({"type": "python", **spec})
