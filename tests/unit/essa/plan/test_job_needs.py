"""What a job needs, told from its specification."""

from __future__ import annotations

from typing import Any

import pytest

from essa.errors import AdapterError
from essa.plan.job_needs import AdapterShape, Pace, job_needs, job_times
from essa.plan.shape import NAMED
from essa.spec import AlignmentJobSpec

SHAPE = NAMED["smollm2-135m"]
ADAPTER = AdapterShape(8, ("q_proj", "v_proj"))
WEIGHTS = SHAPE.lora_parameters(*ADAPTER)


def job(**parts: Any) -> AlignmentJobSpec:
    return AlignmentJobSpec.model_validate(
        {
            "model": {"path": "model"},
            "data": {"train": {"path": "train.jsonl"}},
            "reward": {"type": "sentiment"},
            "budget": {"generations": 10},
            **parts,
        }
    )


@pytest.mark.parametrize(
    ("search", "dimension", "rows"),
    [
        ({}, 30 * 2 * 2 * 8, 17),
        ({"target": "product", "alpha": 0.5}, 30 * 2 * 4, 17),
        ({"target": "weights"}, WEIGHTS, 0),
    ],
)
def test_a_search_holds_a_table_of_what_moves_unless_all_weights_do(search, dimension, rows):
    needs = job_needs(job(search={"type": "sep_cma_es", **search}), SHAPE, ADAPTER)
    assert needs.dimension == dimension
    assert needs.memory["population"] == 4 * dimension * rows
    assert needs.trainer_memory == {}


def test_a_trainer_keeps_state_for_what_it_trains_beside_both_factors():
    method = {"type": "grpo", "parameters": "singular_values", "precision": "nf4"}
    needs = job_needs(job(method=method), SHAPE, ADAPTER)
    assert needs.dimension == 30 * 2 * 2 * 8
    assert needs.trainer_memory["adapter"] == 4 * WEIGHTS
    assert needs.trainer_memory["optimizer"] == 8 * needs.dimension
    plain = job_needs(job(method=method | {"precision": "bf16"}), SHAPE, ADAPTER)
    assert needs.trainer_memory["base"] < plain.trainer_memory["base"]


def test_a_search_over_nothing_is_refused():
    with pytest.raises(AdapterError, match="selects no singular value"):
        job_needs(job(search={"type": "sep_cma_es", "alpha": 0.1}), SHAPE, ADAPTER)


def test_a_generation_takes_the_time_of_its_completions_and_the_budget_cuts_the_job_short():
    pace = Pace(tokens_per_s=100.0, answer_tokens=50.0, train_s=0.25)
    spec = job(batch_size=4, rollout={"max_tokens": 20})
    completions = 16 * 4
    # No answer is longer than this job lets it be.
    generation_s = completions * (20 / 100 + 0.25)
    assert job_times(spec, pace) == (generation_s, 10 * generation_s)
    budget = {"generations": 10, "wall_s": 5.0}
    assert job_times(job(batch_size=4, budget=budget), pace)[1] == 5.0
