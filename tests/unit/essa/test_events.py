"""Events survive their way through the store, those of older jobs included."""

from __future__ import annotations

import json
from typing import Any

import pytest

from essa.events import (
    UNREADABLE,
    GateEvent,
    GenerationEvent,
    ResultEvent,
    ScoreSummary,
    ServingScores,
    StepEvent,
    WarningEvent,
    read_event,
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

OF_BOTH: dict[str, Any] = {
    "generation": 3, "fitness": [0.6, None], "best": 0.6, "mean": 0.4, "worst": NAN,
    "step_norm": 1.0, "distance": 2.0, "missing_scores": 1, "generated_tokens": 900,
    "tokens_per_s": 450.0, "rollout_s": 2.0, "reward_s": 0.5, "coordinator_s": 0.1,
    "elapsed_s": 42.0, "eta_s": None,
}  # fmt: skip
GENERATION = GenerationEvent(sigma=4.0, reliability=0.7, **OF_BOTH)
STEP = StepEvent(train_s=12.0, training={"loss": 0.5, "kl": NAN}, **OF_BOTH)


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
    back = read_event(GATE.model_dump_json())
    assert back == GATE
    assert not of_kind(GateEvent, back).cached


def test_serving_scores_come_back_with_the_result_missing_ones_too():
    missing = ScoreSummary(mean=NAN, ci95=(NAN, NAN), prompts=40, missing=40)
    given = result(ServingScores(precision="bf16", test={"aligned": missing}))
    back = of_kind(ResultEvent, read_event(given.model_dump_json()))
    serving = present(back.serving)
    assert serving.precision == "bf16"
    assert serving.test["aligned"].missing == 40
    assert serving.test["aligned"].mean == pytest.approx(NAN, nan_ok=True)
    assert back.test == given.test


def test_a_result_stored_before_there_were_serving_scores_is_still_read():
    stored = json.loads(result(None).model_dump_json())
    del stored["serving"]
    assert read_event(stored) == result(None)


@pytest.mark.parametrize("event", [GENERATION, STEP], ids=["generation", "step"])
def test_a_generation_and_a_step_come_back_as_what_they_are(event: GenerationEvent | StepEvent):
    back = of_kind(type(event), read_event(event.model_dump_json()))
    # NaN equals nothing, not even itself.
    assert back.model_dump_json() == event.model_dump_json()


def test_clients_find_the_same_fields_in_a_step_as_in_a_generation():
    generation, step = (json.loads(one.model_dump_json()) for one in (GENERATION, STEP))
    assert generation.keys() == step.keys()
    assert generation["type"] == step["type"] == "generation"
    assert (generation["sigma"], step["sigma"]) == (4.0, None)
    assert (generation["training"], generation["train_s"]) == ({}, 0.0)
    assert (step["reliability"], step["constraints"], step["feasible_frac"]) == (None, [], None)
    assert step["worst"] == "NaN"


def test_a_step_that_an_older_version_stored_is_read_as_one():
    stored = {
        **OF_BOTH, "type": "generation", "worst": "NaN", "sigma": None, "axis_ratio": None,
        "reliability": None, "train_s": 12.0, "components": {}, "constraints": [],
        "feasible_frac": None, "training": {"loss": 0.5},
    }  # fmt: skip
    back = of_kind(StepEvent, read_event(json.dumps(stored)))
    assert (back.training, back.train_s) == ({"loss": 0.5}, 12.0)
    del stored["train_s"], stored["training"]
    assert of_kind(StepEvent, read_event(stored)).train_s == 0.0


def test_fields_and_kinds_of_a_newer_version_are_not_in_the_way():
    stored = json.loads(GATE.model_dump_json())
    assert read_event(stored | {"later": 1}) == GATE
    unknown = of_kind(WarningEvent, read_event({"type": "later"}))
    assert unknown.code == UNREADABLE
    assert "'later'" in unknown.message
