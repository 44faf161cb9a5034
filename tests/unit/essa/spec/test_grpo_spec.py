"""A job by gradients: presets, and what does not go with it."""

from __future__ import annotations

from typing import Any

import pytest

from essa.errors import SpecError
from essa.spec import AlignmentJobSpec
from essa.spec.grpo import GrpoSpec
from essa.spec.reading.file import validate_job


def job(reward: dict[str, Any] | None = None, batch_size: int = 32, **method: Any) -> dict:
    return {
        "model": {"path": "org/model"},
        "data": {"train": {"path": "train.jsonl"}},
        "reward": reward or {"type": "sentiment"},
        "method": {"type": "grpo", **method},
        "batch_size": batch_size,
    }


def composite(**settings: Any) -> dict[str, Any]:
    part = {"name": "tone", "reward": {"type": "sentiment"}}
    return {"type": "composite", "components": [part], **settings}


def inside(reward: dict[str, Any]) -> dict[str, Any]:
    return {"type": "composite", "components": [{"name": "in", "reward": reward}]}


def test_a_preset_fills_what_is_not_written() -> None:
    paper = GrpoSpec(preset="paper")
    assert (paper.learning_rate, paper.mini_batch) == (1e-5, 64)
    tuned = GrpoSpec()
    assert (tuned.preset, tuned.mini_batch) == ("tuned", None)
    assert tuned.learning_rate > paper.learning_rate


def test_what_is_written_wins_over_the_preset_null_too() -> None:
    method = GrpoSpec(preset="paper", learning_rate=3e-4, mini_batch=None)
    assert (method.learning_rate, method.mini_batch) == (3e-4, None)


def test_a_resolved_method_comes_back_as_it_was() -> None:
    spec = validate_job(job(preset="paper", learning_rate=3e-4))
    again = AlignmentJobSpec.model_validate_json(spec.model_dump_json())
    assert again == spec


def test_an_unknown_preset_is_refused_by_its_name() -> None:
    with pytest.raises(SpecError, match="'tuned' or 'paper'") as caught:
        validate_job(job(preset="best"))
    assert caught.value.detail["field"] == "method.preset"


@pytest.mark.parametrize(
    "reward",
    [
        {"type": "corpus_bleu"},
        {"type": "f1", "labels": ["yes", "no"]},
        {"type": "pass_at_k", "k": 1, "reward": {"type": "exact_match"}},
        {"type": "percentile", "reward": {"type": "sentiment"}},
    ],
)
@pytest.mark.parametrize("place", [lambda reward: reward, inside])
def test_metrics_of_a_whole_batch_are_refused_wherever_they_are(reward, place) -> None:
    with pytest.raises(SpecError, match=f"{reward['type']}.*score for every completion") as caught:
        validate_job(job(place(reward)))
    assert caught.value.detail["field"] == "reward"
    # A search takes them.
    validate_job(job(place(reward)) | {"method": {"type": "evolution"}})


def test_normalisation_over_a_population_is_refused() -> None:
    with pytest.raises(SpecError, match="set it to none") as caught:
        validate_job(job(composite(normalize="running")))
    assert caught.value.detail["field"] == "reward.normalize"
    validate_job(job(composite()))


@pytest.mark.parametrize(
    ("batch_size", "method", "field", "value", "fix"),
    [
        (32, {"mini_batch": 7}, "mini_batch", 7, "256 completions of batch_size x"),
        (32, {"mini_batch": 96}, "mini_batch", 96, "set it to 32"),
        (32, {"mini_batch": 64, "micro_batch": 24}, "micro_batch", 24, "set it to 8"),
        (9, {}, "micro_batch", 16, "set it to 8"),
    ],
)
def test_completions_come_in_whole_batches(batch_size, method, field, value, fix) -> None:
    with pytest.raises(SpecError) as caught:
        validate_job(job(batch_size=batch_size, **method))
    (problem,) = caught.value.detail["problems"]
    assert (problem.field, problem.value) == (f"method.{field}", value)
    assert fix in problem.fix


def test_a_small_batch_needs_no_other_micro_batch() -> None:
    validate_job(job(batch_size=2, group_size=4, micro_batch=64))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("group_size", 1),
        ("learning_rate", 0),
        ("clip", 0),
        ("kl_coefficient", -1),
        ("warmup_frac", 1),
        ("temperature", 0),
        ("optimizer", "sophia"),
        ("precision", "fp4"),
        ("loss", "ppo"),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(SpecError) as caught:
        validate_job(job(**{name: value}))
    assert caught.value.detail["field"] == f"method.{name}"


def test_all_weights_move_under_gradients_and_where_a_search_says_so() -> None:
    assert validate_job(job()).moves_weights
    assert validate_job(job(parameters="singular_values")).moves_weights
    search = job() | {"method": {"type": "evolution"}}
    assert not validate_job(search).moves_weights
    assert validate_job(search | {"search": {"type": "snes", "target": "weights"}}).moves_weights
