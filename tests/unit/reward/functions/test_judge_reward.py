"""The reward `judge` against a local server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from reward.errors import RewardConfigError
from reward.functions.judge import Judge
from reward.resources import RewardPolicy, RewardResources
from reward.sample import Sample
from reward.spec.external import JudgeSpec
from tests.contract.scoring_server import (
    Answer,
    Received,
    ScoringServer,
    chat_reply,
    count_of_good,
    running_server,
)

KEY = "sk-very-secret"
POLICY = RewardPolicy(
    allowed_hosts=("127.0.0.1",), allow_private_hosts=True, secrets={"judge_key": KEY}
)
NUMBER = {"type": "number"}


class Opened:
    """A judge, and the server that answers it."""

    def __init__(self, judge: Judge, server: ScoringServer) -> None:
        self.judge = judge
        self.server = server


@pytest.fixture
def opened() -> Iterator[Callable[..., Opened]]:
    with ExitStack() as stack:

        def build(answer: Callable[[Received], Answer] = count_of_good, **spec: Any) -> Opened:
            server = stack.enter_context(running_server(answer))
            given = {"model": "judge-1", "parse": NUMBER, "max_retries": 0, "timeout_s": 20, **spec}
            judge = Judge(
                JudgeSpec(base_url=f"{server.url}/v1", **given),
                resources=RewardResources(POLICY),
            )
            stack.callback(judge.close)
            return Opened(judge, server)

        yield build


def test_the_request_is_an_openai_chat_completion(opened: Any) -> None:
    one = opened(
        prompt="{topic}|{prompt}|{completion}|{{}}", system="Be strict.", api_key="judge_key"
    )
    one.judge.score([Sample("It is 4.", {"topic": 7}, prompt="2+2?")])
    (request,) = one.server.received
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.json == {
        "model": "judge-1",
        "messages": [
            {"role": "system", "content": "Be strict."},
            {"role": "user", "content": "7|2+2?|It is 4.|{}"},
        ],
        "temperature": 0,
        "max_tokens": 256,
    }


def test_extra_fields_are_sent_and_null_takes_a_field_out(opened: Any) -> None:
    one = opened(extra={"max_tokens": None, "max_completion_tokens": 9})
    one.judge.score([Sample("good")])
    body = one.server.received[0].json
    assert "max_tokens" not in body
    assert body["max_completion_tokens"] == 9
    assert "authorization" not in one.server.received[0].headers


def test_a_conversation_is_shown_as_text(opened: Any) -> None:
    asked = {"role": "user", "content": "Hi?"}
    one = opened(prompt="{prompt}|{completion}")
    one.judge.score([Sample("a", prompt="<|user|>Hi?", messages=(asked,))])
    one.judge.score([Sample("b", messages=({"role": "system", "content": "Be kind."}, asked))])
    first, second = (request.json["messages"][-1]["content"] for request in one.server.received)
    assert first == "Hi?|a"
    assert second == "system: Be kind.\n\nuser: Hi?|b"


def test_the_default_asks_for_ten_points_and_scales_them(opened: Any) -> None:
    default = JudgeSpec(base_url="http://judge.test", model="m").parse
    one = opened(lambda _: chat_reply("7/10"), parse=default)
    assert one.judge.score([Sample("x", prompt="Why?")])[0].value == 0.7
    asked = one.server.received[0].json["messages"][-1]["content"]
    assert "Question:\nWhy?\n\nAnswer:\nx\n" in asked


def test_equal_questions_are_asked_once_and_each_sample_has_its_score(opened: Any) -> None:
    one = opened()
    texts = ["good", "bad", "good", "good good"]
    results = one.judge.score([Sample(text, {"id": i}) for i, text in enumerate(texts)])
    assert [result.value for result in results] == [1, 0, 1, 2]
    assert len(one.server.received) == 3


def test_an_unreadable_reply_is_missing_and_quoted_while_others_score(opened: Any) -> None:
    def answer(request: Received) -> Answer:
        asked = request.json["messages"][-1]["content"]
        return chat_reply("I would rather not say. " * 20 if "odd" in asked else "3")

    fine, odd = opened(answer).judge.score([Sample("even"), Sample("odd")])
    assert fine.value == 3
    assert odd.missing
    assert "reward.parse: the reply cannot be read: the text has no number" in odd.error
    assert "'I would rather not say. I would" in odd.error
    assert len(odd.error) < 300


def test_a_reply_that_was_cut_names_the_limit(opened: Any) -> None:
    (result,) = opened(lambda _: chat_reply(None, "length")).judge.score([Sample("x")])
    assert "it was cut, raise reward.max_tokens" in result.error


@pytest.mark.parametrize(
    "body", [b"<html>busy</html>", [], {"choices": []}, {"choices": [{"message": 3}]}, b"[" * 9999]
)
def test_an_answer_that_is_no_chat_completion_is_missing(opened: Any, body: Any) -> None:
    (result,) = opened(lambda _: Answer(body)).judge.score([Sample("x")])
    assert "reward.base_url: not a chat completion" in result.error


def test_samples_are_averaged_over_the_replies_that_can_be_read(opened: Any) -> None:
    replies = iter(["2", "no idea", "4"])
    one = opened(lambda _: chat_reply(next(replies)), samples=3, temperature=1, concurrency=1)
    assert one.judge.score([Sample("x")])[0].value == 3
    assert len(one.server.received) == 3


def test_usage_counts_requests_retries_tokens_and_cost(opened: Any) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 10}
    answers = iter(
        [
            Answer(b"", 503),
            chat_reply("1", usage=usage),
            chat_reply("1", usage=usage),
            chat_reply("1"),
        ]
    )
    one = opened(
        lambda _: next(answers),
        max_retries=1,
        concurrency=1,
        prices={"prompt": 2.5, "completion": 10},
    )
    one.judge.score([Sample("a"), Sample("b"), Sample("c"), Sample("c")])
    used = one.judge.usage
    assert (used.requests, used.retries, used.unmetered) == (4, 1, 1)
    assert (used.prompt_tokens, used.completion_tokens) == (2000, 20)
    assert used.cost == pytest.approx(2000 * 2.5e-6 + 20 * 10e-6)
    assert one.judge.costs()["reward"]["cost"] == used.cost
    assert opened().judge.usage.cost is None


def test_several_threads_share_one_limit_and_one_count(opened: Any) -> None:
    def answer(request: Received) -> Answer:
        time.sleep(0.01)
        return count_of_good(request)

    one = opened(answer, concurrency=2)
    wrong: list[Any] = []

    def score(name: str) -> None:
        samples = [Sample(f"{name} {'good ' * number}") for number in range(8)]
        found = [result.value for result in one.judge.score(samples)]
        wrong.extend([] if found == list(range(8)) else [found])

    threads = [threading.Thread(target=score, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert one.server.most_at_once <= 2
    assert one.judge.usage.requests == 24


def test_a_key_is_in_no_message_and_no_repr(opened: Any) -> None:
    one = opened(lambda _: chat_reply(f"your key is {KEY}"), api_key="judge_key")
    (result,) = one.judge.score([Sample("x")])
    assert "[secret]" in result.error
    assert KEY not in result.error
    assert KEY not in repr(one.judge) + repr(vars(one.judge)) + repr(one.judge.usage)
    assert KEY not in repr(one.judge.spec)


@pytest.mark.parametrize("secrets", [{}, {"judge_key": ""}, {"judge_key": KEY + "\n"}])
def test_a_key_that_is_not_there_or_unfit_is_named_and_not_shown(secrets: dict[str, str]) -> None:
    spec = JudgeSpec(base_url="http://127.0.0.1:1", model="m", api_key="judge_key")
    policy = RewardPolicy(allowed_hosts=("127.0.0.1",), allow_private_hosts=True, secrets=secrets)
    with pytest.raises(RewardConfigError, match=r"reward\.api_key.*'judge_key'") as caught:
        Judge(spec, resources=RewardResources(policy))
    assert "ESSA_REWARD_SECRET_JUDGE_KEY" in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_judge_is_refused_where_the_operator_allows_no_host() -> None:
    with pytest.raises(RewardConfigError, match=r"api\.example\.org:443.*ESSA_REWARD_HOSTS"):
        Judge(JudgeSpec(base_url="https://api.example.org/v1", model="m"), "reward")


def test_text_that_is_no_unicode_is_judged_all_the_same(opened: Any) -> None:
    one = opened(prompt="{completion}")
    assert one.judge.score([Sample("good \ud800")])[0].value == 1
    assert one.server.received[0].json["messages"][-1]["content"] == "good ?"
