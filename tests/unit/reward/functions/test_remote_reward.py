"""The reward `remote` against a local server."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from typing import Any

import pytest

from reward.errors import RewardConfigError
from reward.functions.remote import Remote, sign
from reward.resources import RewardPolicy, RewardResources
from reward.sample import Sample
from reward.spec.external import RemoteSpec
from tests.contract.scoring_server import (
    Answer,
    Received,
    ScoringServer,
    count_of_good,
    running_server,
)

SECRET = "a shared secret"
POLICY = RewardPolicy(
    allowed_hosts=("127.0.0.1",), allow_private_hosts=True, secrets={"scores": SECRET}
)


class Opened:
    """A remote reward, and its server."""

    def __init__(self, remote: Remote, server: ScoringServer) -> None:
        self.remote = remote
        self.server = server


@pytest.fixture
def opened() -> Iterator[Callable[..., Opened]]:
    with ExitStack() as stack:

        def build(answer: Callable[[Received], Answer] = count_of_good, **spec: Any) -> Opened:
            server = stack.enter_context(running_server(answer))
            given = {"max_retries": 0, "timeout_s": 20, **spec}
            remote = Remote(
                RemoteSpec(url=f"{server.url}/score", **given), resources=RewardResources(POLICY)
            )
            stack.callback(remote.close)
            return Opened(remote, server)

        yield build


def test_a_request_holds_all_that_is_known_about_every_item(opened: Any) -> None:
    one = opened(name="tests_pass")
    message = {"role": "user", "content": "2+2?"}
    one.remote.score([Sample("4", {"answer": 4, "note": None}, "<u>2+2?", (message,))])
    (request,) = one.server.received
    assert request.path == "/score"
    assert request.json == {
        "version": 1,
        "reward": "tests_pass",
        "items": [
            {
                "completion": "4",
                "prompt": "<u>2+2?",
                "row": {"answer": 4, "note": None},
                "messages": [message],
            }
        ],
    }


def test_only_the_columns_asked_for_are_sent(opened: Any) -> None:
    one = opened(columns=["answer"])
    one.remote.score([Sample("4", {"answer": None, "note": "private"})])
    assert one.server.received[0].json["items"][0]["row"] == {"answer": None}


def test_batches_are_cut_and_scores_keep_their_place(opened: Any) -> None:
    one = opened(batch_size=3, concurrency=2)
    results = one.remote.score([Sample("good " * number) for number in range(8)])
    assert [result.value for result in results] == list(range(8))
    assert sorted(len(request.json["items"]) for request in one.server.received) == [2, 3, 3]


def test_batches_under_way_stay_within_the_concurrency(opened: Any) -> None:
    def answer(request: Received) -> Answer:
        time.sleep(0.02)
        return count_of_good(request)

    one = opened(answer, batch_size=1, concurrency=2)
    one.remote.score([Sample(str(number)) for number in range(12)])
    assert one.server.most_at_once <= 2


@pytest.mark.parametrize(
    ("score", "shown"),
    [
        (None, "None"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (10**400, "1000"),
        ("good", "'good'"),
        (True, "True"),
        ([1], "[1]"),
    ],
    ids=["null", "nan", "infinite", "huge", "text", "true", "list"],
)
def test_what_is_no_finite_number_is_missing_and_its_neighbours_score(
    opened: Any, score: Any, shown: str
) -> None:
    one = opened(lambda _: Answer({"scores": [1, score, 0.5]}))
    first, bad, last = one.remote.score([Sample(text) for text in "abc"])
    assert (first.value, last.value) == (1, 0.5)
    assert bad.missing
    assert "the server gave no score: the score is" in bad.error
    assert shown in bad.error
    assert len(bad.error) < 300


def test_an_error_of_the_server_is_the_reason_of_the_missing_score(opened: Any) -> None:
    one = opened(lambda _: Answer({"scores": [None, 1], "errors": ["no compiler", None]}))
    bad, fine = one.remote.score([Sample("a"), Sample("b")])
    assert bad.error == "reward: the server gave no score: 'no compiler'"
    assert fine.value == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"scores": [1]}, "`scores` must be a list with one entry for each of 2 items, it is 1"),
        ({"scores": [1, 2, 3]}, "it is 3 long"),
        ({"scores": "12"}, "it is str"),
        ({"scores": [1, 2], "errors": []}, "`errors` must be a list"),
        ({"score": [1, 2]}, 'not a JSON object with `scores`: \'{"score"'),
        ([1, 2], "not a JSON object"),
        (b"<html>", "'<html>'"),
        (b"\xff", "not a JSON object"),
        (b"", "not a JSON object"),
        (b"[" * 9999, "not a JSON object"),
    ],
)
def test_a_malformed_answer_makes_its_items_missing_and_says_why(
    opened: Any, body: Any, problem: str
) -> None:
    results = opened(lambda _: Answer(body)).remote.score([Sample("a"), Sample("b")])
    assert all(result.missing for result in results)
    assert problem in results[0].error
    assert "reward.url" in results[0].error


def test_a_failed_batch_leaves_the_others_alone(opened: Any) -> None:
    def answer(request: Received) -> Answer:
        is_bad = "bad" in request.body.decode()
        return Answer(b"cannot", 400) if is_bad else count_of_good(request)

    results = opened(answer, batch_size=1).remote.score([Sample("good"), Sample("bad")])
    assert results[0].value == 1
    assert "answered with status 400: 'cannot'" in results[1].error


def test_a_row_that_is_no_json_is_refused_and_spoils_only_its_own_item(opened: Any) -> None:
    one = opened()
    odd = {"when": date(2020, 1, 2)}
    for row in (odd, {"when": float("nan")}):
        with pytest.raises(RewardConfigError, match=r"column 'when' is not JSON.*reward\.columns"):
            one.remote.check_row(row)
    bad, fine = one.remote.score([Sample("good", odd), Sample("good", {"when": "today"})])
    assert "column 'when' is not JSON" in bad.error
    assert fine.value == 1


def test_a_row_without_a_column_asked_for_is_refused(opened: Any) -> None:
    with pytest.raises(RewardConfigError, match=r"no column 'answer'.*reward\.columns"):
        opened(columns=["answer"]).remote.check_row({"note": 1})


# Signatures


def test_the_signature_is_a_plain_hmac() -> None:
    expected = hmac.new(b"key", b'12.{"a": 1}', hashlib.sha256).hexdigest()
    assert sign("key", "12", b'{"a": 1}') == expected
    assert sign("key", "13", b'{"a": 1}') != expected
    assert sign("yek", "12", b'{"a": 1}') != expected


def test_a_server_can_verify_every_attempt_and_know_a_retry(opened: Any) -> None:
    statuses = iter([503, 200, 200])

    def answer(request: Received) -> Answer:
        timestamp = request.headers["x-essa-timestamp"]
        is_fresh = abs(time.time() - int(timestamp)) < 300
        expected = sign(SECRET, timestamp, request.body)
        is_ours = hmac.compare_digest(expected, request.headers["x-essa-signature"])
        if not (is_fresh and is_ours):
            return Answer(b"who are you?", 401)
        status = next(statuses)
        return count_of_good(request) if status == 200 else Answer(b"", status)

    one = opened(answer, secret="scores", max_retries=1)
    assert one.remote.score([Sample("good")])[0].value == 1
    assert one.remote.score([Sample("good")])[0].value == 1
    keys = [request.headers["idempotency-key"] for request in one.server.received]
    assert keys[0] == keys[1] != keys[2]


def test_without_a_secret_nothing_is_signed(opened: Any) -> None:
    one = opened()
    one.remote.score([Sample("good")])
    assert "x-essa-signature" not in one.server.received[0].headers


def test_the_secret_is_in_no_message_and_no_repr(opened: Any) -> None:
    one = opened(lambda _: Answer({"scores": [None], "errors": [f"not {SECRET}"]}), secret="scores")
    (result,) = one.remote.score([Sample("x")])
    assert "not [secret]" in result.error
    assert SECRET not in result.error
    assert SECRET not in repr(one.remote) + repr(vars(one.remote))


def test_a_remote_is_refused_where_the_operator_allows_no_private_address() -> None:
    policy = RewardPolicy(allowed_hosts=("127.0.0.1:9000",))
    with pytest.raises(RewardConfigError, match="ESSA_REWARD_PRIVATE_HOSTS"):
        Remote(RemoteSpec(url="http://127.0.0.1:9000/score"), resources=RewardResources(policy))
