"""What every method must answer, and that each one has something that runs it."""

from __future__ import annotations

from typing import Any, get_args

import pytest

pytest.importorskip("ray")
pytest.importorskip("torch")

from alignment_api.jobs.requests import Method as RequestedMethod
from essa.errors import SpecError
from essa.spec import AlignmentJobSpec, Precision
from essa.spec.method import METHOD_SPECS
from essa.spec.search import Target
from workers.cluster.placement import Node
from workers.job.context import JobContext, JobRun
from workers.methods.base import Method
from workers.methods.registry import METHODS, make_method

EXAMPLES: dict[str, dict[str, Any]] = {
    "evolution": {},
    "constrained_evolution": {
        "objective": "tone",
        "constraints": [{"component": "calm", "threshold": 0.5}],
    },
    "grpo": {},
    "best_of_n": {},
}
REWARD = {
    "type": "composite",
    "components": [
        {"name": "tone", "reward": {"type": "sentiment"}},
        {"name": "calm", "reward": {"type": "sentiment"}},
    ],
}
DIMENSION = 6
CPU, TWO_GPUS = [Node("a", cpus=2)], [Node("a", cpus=2, gpus=2)]


def job(kind: str) -> AlignmentJobSpec:
    return AlignmentJobSpec.model_validate(
        {
            "model": {"path": "model"},
            "data": {"train": {"path": "train.jsonl"}},
            "reward": REWARD,
            "method": {"type": kind, **EXAMPLES[kind]},
        }
    )


def method(kind: str, nodes: list[Node]) -> Method[Any]:
    # Nothing here reaches the run's place, model, data or reward.
    absent: Any = None
    run = JobRun(job(kind), absent, 0.0)
    return make_method(JobContext(run, absent, absent, absent, absent, absent, absent), nodes)


def test_every_specification_has_what_runs_it_and_a_place_in_the_request():
    assert set(METHOD_SPECS) == set(METHODS) == set(EXAMPLES)
    assert set(METHODS) <= set(RequestedMethod.model_fields)


@pytest.mark.parametrize("kind", METHOD_SPECS)
def test_its_answers_agree_with_each_other(kind):
    spec = job(kind)
    found = spec.method
    assert found.trains == (found.training(spec) is not None)
    assert found.moved(spec.search).target in get_args(Target)
    # What a vector holds is at least what moves in it.
    assert found.moves_weights(spec.search) or found.moved(spec.search).target != "weights"


@pytest.mark.parametrize("kind", METHOD_SPECS)
def test_the_model_card_gets_tags_and_whole_sentences(kind):
    spec = job(kind)
    assert spec.method.tags
    assert spec.method.made_how(spec).endswith(".")
    assert "int4" in spec.method.ran_on(Precision.INT4)


@pytest.mark.parametrize("kind", METHOD_SPECS)
def test_what_is_settled_stays(kind):
    once = job(kind).method.settled("float32")
    assert once.settled("bfloat16") == once


@pytest.mark.parametrize("kind", METHODS)
def test_it_holds_a_gpu_beside_the_engines_where_it_trains(kind):
    trains = METHOD_SPECS[kind].trains
    assert method(kind, CPU).gpus_beside == 0
    assert method(kind, TWO_GPUS).gpus_beside == trains
    if trains:
        with pytest.raises(SpecError, match=kind):
            method(kind, [Node("a", cpus=2, gpus=1)])


@pytest.mark.parametrize("kind", METHODS)
def test_its_objective_begins_in_the_state_that_it_restores(kind):
    objective = method(kind, CPU).objective(DIMENSION)
    other = method(kind, CPU).objective(DIMENSION)
    other.restore(objective.state())
    assert other.state() == objective.state()
