"""Judging a warm start by the best of its sampled answers, on a reward whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from essa.coordinator.best_of_n import BestOfN, BestOfNCoordinator
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.errors import SpecError
from essa.events import ResultEvent, RoundEvent, ValidationEvent
from essa.objective.normalized import reward_objective
from essa.ports import GroupRollouts
from essa.spec import AlignmentJobSpec
from essa.spec.best_of_n import BestOfNSpec
from essa.spec.reading.file import validate_job
from essa.testing import FakeClock, QuadraticEvaluator, RecordingSink
from essa.types import Completion, PopulationScores
from tests.narrowing import of_kind, present
from tests.unit.essa.coordinator.coordinator_bench import DATA, DIGEST, DIMENSION
from tests.unit.essa.coordinator.gradient_bench import QuadraticSampler

JOB = {
    "model": {"path": "somewhere"},
    "data": {"train": {"path": "train.jsonl"}},
    "reward": {"type": "sentiment"},
    "method": {"type": "best_of_n", "samples": 6},
    "seed": 3,
}


def groups(rewards: list[list[float]], texts: list[list[str]]) -> GroupRollouts:
    values = np.array(rewards)
    scores = PopulationScores(
        np.nanmean(values, axis=1)[None], {}, [[row[0] if row else "" for row in texts]],
        prompt_tokens=7, generated_tokens=11, rollout_s=1.0, reward_s=0.5, samples=values.size,
    )  # fmt: skip
    answers = [[Completion(text, (1,), "stop") for text in row] for row in texts]
    return GroupRollouts([], values, answers, scores, {"tone": 10 * values})


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_the_best_answer_comes_with_its_own_components_and_text() -> None:
    nan = float("nan")
    best = groups(
        [[0.1, 0.9, 0.3], [nan, 0.2, nan], [0.5, 0.5, 0.4], [nan] * 3],
        [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"], []],
    ).best()
    np.testing.assert_array_equal(best.rewards_N_P, [[0.9, 0.2, 0.5, nan]])
    np.testing.assert_array_equal(best.components["tone"], [[9.0, 2.0, 5.0, nan]])
    assert best.completions == [["b", "e", "g", ""]]
    # All answers were paid for.
    assert (best.samples, best.tokens) == (12, 18)


def test_a_job_is_validated_once_tested_once_and_moves_nothing() -> None:
    clock, sink = FakeClock(), RecordingSink()
    plain = QuadraticEvaluator(np.ones(DIMENSION), clock=clock)
    sampler = QuadraticSampler(plain, lambda rewards: None)
    spec = AlignmentJobSpec.model_validate(JOB)
    outlets, space = Outlets(sink, clock=clock), Space(DIMENSION, DIGEST)
    run = Run(spec, reward_objective(spec), DATA, outlets, space, Start())
    best = BestOfN(plain, sampler, of_kind(BestOfNSpec, spec.method), spec.seed)
    outcome = BestOfNCoordinator(run, best).run()
    np.testing.assert_array_equal(outcome.vector, np.zeros(DIMENSION))
    assert sink.of(RoundEvent) == []
    (validated,) = sink.of(ValidationEvent)
    assert (validated.generation, validated.is_best) == (0, True)
    result = outcome.result
    assert isinstance(result, ResultEvent)
    assert result.generations == result.selected_generation == 0
    assert "searches nothing" in result.stop_reason
    assert result.test["aligned"].mean > result.test["warm_start"].mean
    assert [len(call["rows"]) for call in sampler.calls] == [len(DATA.validation), len(DATA.test)]
    assert {call["seed"] for call in sampler.calls} == {3}
    # Every answer is paid for, not the best alone.
    assert validated.samples == 6 * len(DATA.validation)
    assert result.tokens > present(validated.tokens)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"method": {"type": "best_of_n", "samples": 1}}, "method.samples", "2"),
        ({"method": {"type": "best_of_n", "temperature": 0}}, "method.temperature", "0"),
        ({"reward": {"type": "corpus_bleu"}}, "reward", "method.type best_of_n needs a score"),
        ({"search": {"type": "snes", "target": "weights"}}, "search.target", "leave search.target"),
        (
            {
                "reward": {
                    "type": "composite",
                    "normalize": "running",
                    "components": [{"name": "tone", "reward": {"type": "sentiment"}}],
                }
            },
            "reward.normalize",
            "method.type best_of_n",
        ),
    ],
)
def test_what_does_not_go_with_it_is_named(change, field, words) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        validate_job(JOB | change)
    assert caught.value.detail["field"] == field
