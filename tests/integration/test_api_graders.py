"""A reward can be checked and tried over REST without a job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from alignment_api.app import create_app
from alignment_api.settings import Settings
from tests.integration.api_harness import SCRIPTED_JOB

TONE_AND_ANSWER = {
    "type": "composite",
    "components": [
        {"name": "tone", "reward": {"type": "sentiment"}},
        {"name": "right", "weight": 2.0, "reward": {"type": "exact_match"}},
    ],
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home: Path = tmp_path_factory.mktemp("home")
    with TestClient(
        create_app(Settings(home=home, auth="off", job_command=SCRIPTED_JOB))
    ) as started:
        yield started


def run(client: TestClient, grader: dict[str, Any], *samples: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(
        "/v1/fine_tuning/alpha/graders/run", json={"grader": grader, "samples": samples}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(f"/v1/fine_tuning/alpha/graders/{path}", json=body)
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def test_a_grader_is_shown_with_its_defaults_and_its_parts(client: TestClient) -> None:
    body = {"grader": TONE_AND_ANSWER, "rows": [{"answer": "Paris"}]}
    shown = client.post("/v1/fine_tuning/alpha/graders/validate", json=body).json()
    assert shown["components"] == ["tone", "right"]
    assert shown["is_batch"] is False
    assert shown["grader"]["components"][1]["reward"]["reference"] == "answer"


def test_answers_are_scored_with_every_part(client: TestClient) -> None:
    found = run(
        client,
        TONE_AND_ANSWER,
        {"completion": "Paris", "row": {"answer": "Paris"}},
        {"completion": "A terrible mistake", "row": {"answer": "Paris"}},
    )
    right, wrong = found["results"]
    assert right == {"reward": 2.0, "components": {"tone": 0.0, "right": 1.0}, "error": None}
    assert wrong["reward"] == pytest.approx(wrong["components"]["tone"])
    assert found["reward"] == pytest.approx((right["reward"] + wrong["reward"]) / 2)
    assert found["missing"] == 0


def test_a_missing_score_is_null_and_says_why(client: TestClient) -> None:
    found = run(client, {"type": "exact_match"}, {"completion": "Paris", "row": {"question": "?"}})
    assert found["reward"] is None
    assert found["missing"] == 1
    assert found["results"][0]["reward"] is None
    assert "grader.reference" in found["results"][0]["error"]


def test_a_row_that_does_not_fit_is_named(client: TestClient) -> None:
    rows = [{"answer": "Paris"}, {"reply": "Rome"}]
    error = refusal(client, "validate", {"grader": {"type": "exact_match"}, "rows": rows})
    assert error["param"] == "grader.reference"
    assert "rows.1" in error["message"]
    assert "'answer'" in error["message"]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"grader": {"type": "vibes"}}, "grader", "'sentiment'"),
        ({"grader": {}}, "grader", "add 'type'"),
        ({"grader": {"type": "regex", "pattern": "("}}, "grader.pattern", "not a regular"),
        ({"grader": {"type": "length"}}, "grader", "`min`"),
        ({}, "grader", "is missing"),
    ],
)
def test_a_wrong_grader_is_refused_by_both(
    client: TestClient, body: dict[str, Any], param: str, words: str
) -> None:
    error = refusal(client, "validate", body)
    assert error["param"] == param
    assert words in error["message"]
    assert refusal(client, "run", body | {"samples": [{"completion": "a"}]}) == error


def test_answers_are_needed_to_run_a_grader(client: TestClient) -> None:
    error = refusal(client, "run", {"grader": {"type": "sentiment"}, "samples": []})
    assert "`samples`" in error["message"]


@pytest.mark.parametrize(
    ("operation", "reference", "rewards"),
    [
        ("eq", "{{item.answer}}", [1.0, 0.0, 0.0]),
        ("ne", "{{ item.answer }}", [0.0, 1.0, 1.0]),
        ("eq", "Paris", [1.0, 0.0, 0.0]),
        ("like", "Par", [1.0, 0.0, 0.0]),
        ("ilike", "a.", [0.0, 0.0, 1.0]),
        ("ilike", "PAR", [1.0, 1.0, 0.0]),
    ],
)
def test_a_string_check_scores_as_openai_says(
    client: TestClient, operation: str, reference: str, rewards: list[float]
) -> None:
    grader = {
        "type": "string_check",
        "name": "check",
        "input": "{{sample.output_text}}",
        "reference": reference,
        "operation": operation,
    }
    samples = [
        {"completion": text, "row": {"answer": "Paris"}} for text in ("Paris", "paris", "A.")
    ]
    found = run(client, grader, *samples)
    assert [one["reward"] for one in found["results"]] == rewards


def test_the_request_of_openais_clients_is_answered_in_their_shape(client: TestClient) -> None:
    check = {
        "type": "string_check",
        "name": "right",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "operation": "eq",
    }
    grader = {
        "type": "multi",
        "name": "both",
        "graders": {"right": check, "tone": {"type": "sentiment"}},
        "calculate_output": "0.5 * right + max(0, tone)",
    }
    body = {"grader": grader, "model_sample": "Paris", "item": {"answer": "Paris"}}
    answer = client.post("/v1/fine_tuning/alpha/graders/run", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["reward"] == 0.5
    assert found["sub_rewards"] == {"right": 1.0, "tone": 0.0}
    assert (found["metadata"]["name"], found["metadata"]["type"]) == ("both", "multi")
    assert not any(found["metadata"]["errors"].values())


def test_samples_and_a_model_sample_do_not_go_together(client: TestClient) -> None:
    body = {
        "grader": {"type": "sentiment"},
        "samples": [{"completion": "a"}],
        "model_sample": "b",
    }
    assert "one of them" in refusal(client, "run", body)["message"]
