"""Events survive their way through the store, those of older jobs included."""

from __future__ import annotations

import json

import pytest

from essa.events import (
    GateEvent,
    ResultEvent,
    ScoreSummary,
    ServingScores,
    event_adapter,
)
from tests.narrowing import of_kind, present

NAN = float("nan")
GATE = GateEvent(
    precision="int8",
    base_nats=0.1,
    warm_start_nats=0.2,
    zeroed_nats=0.0,
    candidates=[0.05, 0.1],
    effect_nats=1.5,
    seconds=12.0,
)


def result(serving: ServingScores | None) -> ResultEvent:
    score = ScoreSummary(mean=0.5, ci95=(0.4, 0.6), prompts=40)
    return ResultEvent(
        test={"base": score, "warm_start": score, "aligned": score},
        serving=serving,
        validation=None,
        selected_generation=1,
        generations=2,
        stop_reason="generations",
        seconds=1.0,
        tokens=10,
        adapter="adapter",
        samples=[],
    )


def test_the_gates_event_comes_back_as_one():
    back = event_adapter.validate_json(GATE.model_dump_json())
    assert back == GATE
    assert not of_kind(GateEvent, back).cached


def test_serving_scores_come_back_with_the_result_missing_ones_too():
    missing = ScoreSummary(mean=NAN, ci95=(NAN, NAN), prompts=40, missing=40)
    given = result(ServingScores(precision="bf16", test={"aligned": missing}))
    back = of_kind(ResultEvent, event_adapter.validate_json(given.model_dump_json()))
    serving = present(back.serving)
    assert serving.precision == "bf16"
    assert serving.test["aligned"].missing == 40
    assert serving.test["aligned"].mean == pytest.approx(NAN, nan_ok=True)
    assert back.test == given.test


def test_a_result_stored_before_there_were_serving_scores_is_still_read():
    stored = json.loads(result(None).model_dump_json())
    del stored["serving"]
    assert event_adapter.validate_python(stored) == result(None)
