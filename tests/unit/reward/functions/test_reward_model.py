"""What a `reward_model` reward makes of the answers of a scorer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import ValidationError

from reward.base import Reward
from reward.errors import RewardConfigError
from reward.registry import build_reward
from reward.resources import RewardPolicy, RewardResources, TextScorer
from reward.sample import Sample
from reward.spec.reward_model import RewardModelSpec
from tests.contract.counting_scorer import CountOfGood


class Fixed(CountOfGood):
    """Gives the same answers to every batch."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers)

    def score(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[float | str]:
        return self.answers


def reward_with(open_scorer: Callable[[Any], TextScorer] | None, **spec: Any) -> Reward:
    resources = RewardResources(open_scorer=open_scorer)
    return build_reward(RewardModelSpec(model="some/model", **spec), resources=resources)


def test_the_answer_is_the_last_turn_of_the_conversation() -> None:
    scorer = CountOfGood()
    messages = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"})
    (result,) = reward_with(lambda spec: scorer).score(
        [Sample("good", prompt="<system>Be kind.<user>Hi", messages=messages)]
    )
    assert result.value == 1
    assert scorer.asked == [[*messages, {"role": "assistant", "content": "good"}]]


def test_a_plain_text_prompt_is_a_turn_of_the_user() -> None:
    scorer = CountOfGood()
    reward_with(lambda spec: scorer).score([Sample("an end", prompt="A start and")])
    (turns,) = scorer.asked
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        ("user", "A start and"),
        ("assistant", "an end"),
    ]


def test_a_reward_that_reads_answers_shows_nothing_else() -> None:
    scorer = CountOfGood()
    reward_with(lambda spec: scorer, reads="answer").score([Sample("yes", prompt="Secret")])
    assert scorer.asked == [[{"role": "assistant", "content": "yes"}]]


@pytest.mark.parametrize(
    ("spec", "output", "expected"),
    [
        ({}, -3.5, -3.5),
        ({"scale": -2, "offset": 1}, 3.0, -5.0),
        ({"transform": "sigmoid"}, 0.0, 0.5),
        ({"transform": "sigmoid", "scale": 2, "offset": -4}, 2.0, 0.5),
        ({"transform": "sigmoid"}, -1e6, 0.0),
        ({"transform": "sigmoid"}, 1e6, 1.0),
    ],
)
def test_the_score_is_the_transform_of_the_scaled_and_shifted_output(
    spec: dict[str, Any], output: float, expected: float
) -> None:
    (result,) = reward_with(lambda _: Fixed(output), **spec).score([Sample("x")])
    assert result.value == expected


@pytest.mark.parametrize("output", [math.nan, math.inf, -math.inf, "too long"])
@pytest.mark.parametrize("transform", ["none", "sigmoid"])
def test_what_is_no_score_is_missing_with_its_reason(output: Any, transform: str) -> None:
    reward = reward_with(lambda _: Fixed(output, 1.0), transform=transform)
    bad, good = reward.score([Sample("x"), Sample("y")])
    assert bad.missing
    assert bad.error is not None
    assert str(output) in bad.error
    assert bad.error.startswith("reward: ")
    assert not good.missing


def test_the_model_is_opened_once_by_many_threads_and_closed_once() -> None:
    opened: list[CountOfGood] = []

    def opens(spec: Any) -> TextScorer:
        opened.append(CountOfGood())
        return opened[-1]

    reward = reward_with(opens)
    assert not opened
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda n: reward.score([Sample("good " * n)]), range(32)))
    assert [result.value for (result,) in results] == list(range(32))
    reward.close()
    reward.close()
    assert [scorer.closed for scorer in opened] == [1]


def test_a_batch_without_any_text_opens_no_model() -> None:
    (result,) = reward_with(lambda spec: pytest.fail("opened")).score([Sample(None)])  # type: ignore[arg-type]
    assert "NoneType" in str(result.error)


def test_where_no_model_can_be_started_scores_are_missing_and_say_so() -> None:
    (result,) = reward_with(None).score([Sample("x")])
    assert result.missing
    assert "'some/model' cannot be started" in str(result.error)


def test_a_model_that_does_not_open_makes_scores_missing_and_is_not_tried_again() -> None:
    tries: list[Any] = []

    def opens(spec: RewardModelSpec) -> TextScorer:
        tries.append(spec)
        raise RewardConfigError("there is no such folder")

    reward = reward_with(opens)
    results = reward.score([Sample("x"), Sample("y")]) + reward.score([Sample("z")])
    assert [result.error for result in results] == ["reward: there is no such folder"] * 3
    assert len(tries) == 1


def test_a_scorer_that_fails_or_miscounts_makes_its_batch_missing() -> None:
    class Failing(CountOfGood):
        def score(self, conversations: Sequence[Any]) -> list[float | str]:
            raise OSError("the line is cut")

    (failed,) = reward_with(lambda _: Failing()).score([Sample("x")])
    assert "OSError: the line is cut" in str(failed.error)
    miscounted = reward_with(lambda _: Fixed(1.0)).score([Sample("x"), Sample("y")])
    assert all("1 scores for 2 answers" in str(result.error) for result in miscounted)


def test_code_of_a_model_runs_only_where_the_operator_allows_it() -> None:
    spec = RewardModelSpec(model="some/model", trust_remote_code=True)
    with pytest.raises(RewardConfigError, match=r"ESSA_REWARD_MODEL_CODE") as caught:
        build_reward(spec, "reward.components[0].reward")
    assert caught.value.detail["field"] == "reward.components[0].reward.trust_remote_code"
    build_reward(spec, resources=RewardResources(RewardPolicy(allow_model_code=True)))


@pytest.mark.parametrize(
    "wrong", [{"head": -1}, {"batch_size": 0}, {"precision": "int4"}, {"scale": math.inf}]
)
def test_a_specification_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        RewardModelSpec(model="some/model", **wrong)
