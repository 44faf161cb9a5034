"""The result on the base that is served, without engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.narrowing import present

pytest.importorskip("ray")
pytest.importorskip("torch")

from essa.coordinator import run_events
from essa.coordinator.loop import Outcome
from essa.coordinator.state import RunState
from essa.data import JobData
from essa.errors import ClusterError, EngineStartError, EssaError, JobCancelledError
from essa.events import ResultEvent, StageEvent, WarningEvent
from essa.number_format import Activations
from essa.objective.objective import RewardObjective
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.parametrize.port import Codec, Layout
from essa.ports import RunControl, RunSite
from essa.spec import AlignmentJobSpec, EngineSpec, Precision
from essa.testing import ANSWER_TOKENS, PROMPT_TOKENS, QuadraticEvaluator, RecordingSink
from essa.types import FloatArray, Row
from workers.cluster.placement import Node
from workers.job.context import JobContext, JobRun
from workers.job.engine_plan import EnginePlan
from workers.methods.base import Found
from workers.methods.registry import make_method
from workers.serving import serving_engine, with_serving_scores

ROWS = tuple(Row(index, f"prompt {index}") for index in range(30))
DATA = JobData(train=ROWS[:2], validation=ROWS[:2], test=ROWS)
NODES = [Node("a", cpus=2)]
SEARCHED_TOKENS = 1000


class Control(RunControl):
    def __init__(self, is_asked_to_stop: bool = False) -> None:
        self._is_asked_to_stop = is_asked_to_stop

    def is_cancelled(self) -> bool:
        return self._is_asked_to_stop


@dataclass
class ServingBase:
    """Scores on the base that is served, or why there are none; remembers what was done."""

    evaluator: QuadraticEvaluator
    start_error: EssaError | None = None
    started: list[EngineSpec] = field(default_factory=list)
    layouts: list[Layout] = field(default_factory=list)
    """What its engines were sized for."""


@dataclass(frozen=True)
class LocalContext(JobContext):
    """A context without engines."""

    served: ServingBase

    def plan(self, engine: EngineSpec, activations: Activations) -> EnginePlan:
        return EnginePlan(engine, Path("model"), "digest", activations)

    @contextmanager
    def engines(self, plan: EnginePlan, nodes: list[Node], layout: Layout) -> Iterator[Any]:
        assert nodes == NODES
        if self.served.start_error is not None:
            raise self.served.start_error
        self.served.started.append(plan.spec)
        self.served.layouts.append(layout)
        yield self.served

    def evaluator(self, pool: Any, codec: Codec | None) -> Any:
        assert pool.layouts == [present(codec).layout]
        return pool.evaluator


def job(precision: str = "int8", serving: str | None = None, **engine: Any) -> AlignmentJobSpec:
    return AlignmentJobSpec.model_validate(
        {
            "model": {"path": "model"},
            "data": {"train": {"path": "train.jsonl"}},
            "reward": {"type": "sentiment"},
            "engine": {"kind": "vllm", "precision": precision, **engine},
            "evaluation": {"serving_precision": serving},
        }
    )


class Bench:
    """A finished search whose vector is the optimum of the base it was searched on."""

    def __init__(self, codec: SingularValueCodec, folder: Path) -> None:
        self._codec, self._folder = codec, folder
        self.vector = np.linspace(0.2, 1.0, codec.dimension)
        self.sink = RecordingSink()
        self.result = self._searched()

    def run(
        self, spec: AlignmentJobSpec, served: ServingBase, control: Control | None = None
    ) -> ResultEvent:
        run = JobRun(
            spec, RunSite(self._folder, self._folder, self.sink, control or Control(), Path), 0.0
        )
        # No test here reaches model, prompts or reward.
        absent: Any = None
        context = LocalContext(run, absent, absent, absent, DATA, absent, absent, served=served)
        plan = context.plan(serving_engine(context.job.spec), "float32")
        outcome = Outcome(self.vector, self.result)
        found = Found(self._codec, outcome)
        return with_serving_scores(make_method(context, NODES), found, plan, NODES)

    def served(self, loss: float = 0.0, **given: Any) -> ServingBase:
        """A base on which the vector scores `loss` less than where it was searched."""
        optimum = self.vector + np.sqrt(loss)
        return ServingBase(QuadraticEvaluator(optimum), **given)

    def spoilt(self, spoil: Callable[[str, FloatArray], FloatArray]) -> ServingBase:
        return ServingBase(QuadraticEvaluator(self.vector, spoil=spoil))

    def warnings(self) -> dict[str, str]:
        return {event.code: event.message for event in self.sink.of(WarningEvent)}

    def _searched(self) -> ResultEvent:
        vectors = np.stack([np.zeros_like(self.vector), self.vector])
        scores = QuadraticEvaluator(self.vector).evaluate(vectors, ROWS, with_base=True)
        state = RunState(basis_digest="d", best_vector=self.vector, tokens=SEARCHED_TOKENS)
        return run_events.result_event(state, RewardObjective(0.25), DATA, scores, samples=0)


@pytest.fixture
def bench(tiny_adapter, tmp_path) -> Bench:
    basis = AdapterBasis.decompose(tiny_adapter(), "factors", 1.0)
    return Bench(SingularValueCodec(basis), tmp_path)


def test_served_engine_is_the_searched_one_where_the_base_is_the_same():
    spec = job("int4", "int4", quantization={"method": "gptq"})
    assert serving_engine(spec) == spec.engine


def test_served_engine_differs_in_its_base_alone():
    spec = job("int4", quantization={"method": "gptq"}, workers=3)
    expected = job("bf16", workers=3)
    assert serving_engine(spec) == expected.engine


@pytest.mark.parametrize(("searched", "served"), [("bf16", None), ("fp32", None), ("int8", "int8")])
def test_nothing_is_scored_where_the_base_is_the_same(bench, searched, served):
    never = bench.served(start_error=EngineStartError("started"))
    assert bench.run(job(searched, served), never) == bench.result
    assert bench.sink.events == []


def test_base_warm_start_and_vector_are_scored_on_the_served_base(bench):
    base = bench.served()
    result = bench.run(job("int8"), base)
    assert [engine.precision for engine in base.started] == [Precision.BF16]
    (call,) = base.evaluator.calls
    assert call.with_base
    assert call.rows == ROWS
    np.testing.assert_array_equal(call.vectors_N_D, [np.zeros_like(bench.vector), bench.vector])
    # Same reward, same vector: the same scores, on another base.
    assert result.serving.precision == "bf16"
    assert result.serving.test == bench.result.test
    answers = 3 * len(ROWS)
    assert result.tokens == SEARCHED_TOKENS + answers * (PROMPT_TOKENS + ANSWER_TOKENS)
    assert result.test == bench.result.test
    assert [event.message for event in bench.sink.of(StageEvent)] == ["test on the bf16 base"]
    assert bench.warnings() == {}


def test_a_loss_on_the_served_base_is_warned_of(bench):
    result = bench.run(job("int8"), bench.served(loss=0.5))
    searched, served = bench.result.test["aligned"], result.serving.test["aligned"]
    assert served.mean == pytest.approx(searched.mean - 0.5)
    (told,) = bench.warnings().items()
    assert told[0] == "precision_gap"
    assert f"scores {served.mean:.3f} on the bf16 base" in told[1]
    assert f"its {searched.mean:.3f} on the int8 base" in told[1]


@pytest.mark.parametrize("error", [EngineStartError("no memory"), ClusterError("nodes are gone")])
def test_the_result_stands_where_the_served_base_does_not_start(bench, error):
    assert bench.run(job("int8"), bench.served(start_error=error)) == bench.result
    told = bench.warnings()["serving_not_scored"]
    assert told == f"the result could not be scored on the bf16 base: {error}"


def test_no_score_of_the_vector_at_all_is_told_with_its_reasons(bench):
    def spoil(label: str, rewards_N_P: FloatArray) -> FloatArray:
        rewards_N_P[run_events.ALIGNED] = np.nan
        return rewards_N_P

    assert bench.run(job("int8"), bench.spoilt(spoil)) == bench.result
    told = bench.warnings()
    assert list(told) == ["serving_not_scored"]
    assert "not one of 30 test prompts has a score" in told["serving_not_scored"]
    assert "spoilt on purpose (x30)" in told["serving_not_scored"]


def test_single_missing_scores_are_counted(bench):
    def spoil(label: str, rewards_N_P: FloatArray) -> FloatArray:
        rewards_N_P[run_events.ALIGNED, :2] = np.nan
        return rewards_N_P

    result = bench.run(job("int8"), bench.spoilt(spoil))
    assert result.serving.test["aligned"].missing == 2
    assert "serving_not_scored" not in bench.warnings()


def test_cancelling_ends_the_job_and_is_no_failure_to_score(bench):
    with pytest.raises(JobCancelledError):
        bench.run(job("int8"), bench.served(), Control(is_asked_to_stop=True))
    assert bench.warnings() == {}
