"""The pool on a real Ray cluster with real engines: right answers, and what happens to losses."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import ray

from essa.dispatch import plan_blocks
from essa.errors import JobCancelledError, WorkerLostError
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.parametrize.weights import WeightCodec
from essa.spec import Precision, TransformersEngineSpec
from reward.machine import usable_cores
from workers.cluster.placement import Node, plan_placement
from workers.cluster.pool import EnginePool, ItemResult, WorkItem
from workers.cluster.ray_cluster import ray_cluster
from workers.engines.base import BASE, SamplingParameters
from workers.engines.build import EngineBuild
from workers.engines.transformers_engine import TransformersEngine
from workers.evaluation.work_items import work_items

pytestmark = [pytest.mark.engine, pytest.mark.cores]

POPULATION = 4
PROMPTS = [tuple(5 + (7 * i + j) % 80 for j in range(3 + i % 5)) for i in range(24)]
GREEDY = SamplingParameters(max_tokens=6)
TOO_LONG = tuple([5] * 200)


@dataclass
class Bench:
    """A pool with two engines, the same engine in this process, and what the pool told."""

    pool: EnginePool
    reference: TransformersEngine
    codec: SingularValueCodec
    told: list[str] = field(default_factory=list)

    def set_population(self, seed: int) -> None:
        vectors = np.random.default_rng(seed).standard_normal((POPULATION, self.codec.dimension))
        self.reference.set_population(self.codec.scales(vectors))
        self.pool.set_population(self.codec.scales(vectors))

    def items(self, parameters: SamplingParameters = GREEDY, rows: int = 8) -> list[WorkItem]:
        """Base and population on all prompts."""
        blocks = plan_blocks([BASE, *range(POPULATION)], len(PROMPTS), engines=2, capacity=rows)
        return work_items([(block,) for block in blocks], PROMPTS, parameters)

    def assert_right(self, results: Sequence[ItemResult], items: Sequence[WorkItem]) -> None:
        """One result for every item, with the answers of the engine in this process."""
        assert sorted(result.item.key for result in results) == [item.key for item in items]
        answers = {result.item.key: result.completions for result in results}
        for item in items:
            expected = self.reference.generate(item.candidates, item.prompts, item.parameters)
            found = answers[item.key]
            assert found is not None
            assert [c.token_ids for (c,) in found] == [c.token_ids for (c,) in expected], item.key

    def tokens(self) -> list[int]:
        """Generated so far by each engine's process."""
        return [health.generated_tokens for health in self.pool.health()]

    def ask(self, worker: int, question: Callable[[], Any]) -> Any:
        """Call a function in an engine's process."""
        actor = self.pool._workers[worker].actor
        return ray.get(actor.__ray_call__.remote(lambda self: question()))

    def process(self, worker: int) -> int:
        """Process id of an engine."""
        return self.ask(worker, os.getpid)


def build_for(model_path: str, codec: SingularValueCodec, spec: TransformersEngineSpec):
    return EngineBuild(
        spec=spec,
        model_path=model_path,
        max_population=POPULATION,
        rank=4,
        target_modules=("q_proj", "k_proj", "v_proj", "o_proj"),
        has_core=True,
        seed=0,
    )


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    with pytest.MonkeyPatch.context() as patch:
        # On the CPU even where there is a GPU: the reference is there, too.
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        with ray_cluster() as nodes:
            yield nodes


@pytest.fixture(scope="module")
def codec(tiny_adapter) -> SingularValueCodec:
    return SingularValueCodec(AdapterBasis.decompose(tiny_adapter(), "factors", 1.0))


@pytest.fixture(scope="module")
def shared(nodes, codec, tiny_model) -> Iterator[Bench]:
    spec = TransformersEngineSpec(
        precision=Precision.FP32, workers=2, max_batch=16, max_retries=2, max_restarts=2
    )
    model = str(tiny_model("qwen2"))
    reference = TransformersEngine(model, precision="fp32", max_batch=16, device="cpu")
    reference.load_basis(codec.engine_basis())
    told: list[str] = []
    pool = EnginePool(build_for(model, codec, spec), plan_placement(spec, nodes), told.append)
    health = pool.start()
    assert [one.engine for one in health] == ["transformers"] * 2
    pool.load_basis(codec.engine_basis())
    yield Bench(pool, reference, codec, told)
    pool.close()


@pytest.fixture
def bench(shared) -> Bench:
    shared.told.clear()
    shared.set_population(seed=1)
    return shared


def test_the_pool_answers_like_an_engine_in_this_process(bench):
    items = bench.items()
    before = bench.tokens()
    bench.assert_right(list(bench.pool.run(items)), items)
    assert all(after > first for after, first in zip(bench.tokens(), before, strict=True))
    bench.set_population(seed=2)
    bench.assert_right(list(bench.pool.run(items)), items)
    assert bench.told == []


def test_results_tell_which_engine_worked_and_when(bench):
    items = bench.items(rows=4)
    began_s, before = time.monotonic(), bench.tokens()
    results = list(bench.pool.run(items))
    ended_s = time.monotonic()
    generated = [0, 0]
    for result in results:
        assert began_s <= result.started_s < result.ended_s <= ended_s
        generated[result.engine] += sum(len(one.token_ids) for (one,) in result.completions)
    assert generated == list(np.subtract(bench.tokens(), before))
    assert bench.pool.devices == len(usable_cores()) // 2 * 2


def test_every_engine_has_a_core_of_its_own(bench):
    cores = [bench.ask(worker, lambda: os.sched_getaffinity(0)) for worker in (0, 1)]
    assert [len(own) for own in cores] == [len(usable_cores()) // 2] * 2
    assert not cores[0] & cores[1]


def test_an_item_that_always_fails_comes_back_failed_and_alone(bench):
    items = bench.items()
    bad = WorkItem(len(items), (0, 1), (PROMPTS[0], TOO_LONG), GREEDY)
    results = list(bench.pool.run([bad, *items]))
    failed = [result for result in results if result.completions is None]
    assert [result.item for result in failed] == [bad]
    assert "200 tokens" in failed[0].error
    assert "\n" not in failed[0].error
    bench.assert_right([result for result in results if result not in failed], items)
    assert bench.told == []


def test_a_cancelled_run_leaves_a_usable_pool(bench):
    long = SamplingParameters(max_tokens=60)
    before = sum(bench.tokens())
    taken: list[ItemResult] = []

    def check() -> None:
        if taken:
            raise JobCancelledError("enough")

    def take_all() -> None:
        for result in bench.pool.run(bench.items(long), check):
            taken.append(result)

    with pytest.raises(JobCancelledError):
        take_all()
    assert len(taken) == 1
    # The engines still decode what nobody waits for; same population first, then another.
    items = bench.items()
    bench.assert_right(list(bench.pool.run(items)), items)
    wanted = sum(len(item.prompts) * item.parameters.max_tokens for item in items)
    wanted += len(taken[0].item.prompts) * long.max_tokens
    assert sum(bench.tokens()) - before > wanted
    abandoned = bench.pool.run(bench.items(long))
    next(abandoned)
    abandoned.close()
    bench.set_population(seed=3)
    bench.assert_right(list(bench.pool.run(items)), items)
    assert bench.told == []


def test_a_slow_engine_gets_less_work(bench):
    items = bench.items(rows=4)
    slow = bench.process(0)
    before = bench.tokens()
    os.kill(slow, signal.SIGSTOP)
    timer = threading.Timer(3.0, os.kill, (slow, signal.SIGCONT))
    timer.start()
    try:
        bench.assert_right(list(bench.pool.run(items)), items)
    finally:
        os.kill(slow, signal.SIGCONT)
        timer.join()
    of_slow, of_quick = np.subtract(bench.tokens(), before)
    assert 0 < 3 * of_slow < of_quick


def test_a_killed_engine_loses_no_results_and_comes_back_alike(bench):
    items = bench.items(SamplingParameters(max_tokens=40))
    victim = bench.process(0)
    results = []
    for result in bench.pool.run(items):
        if not results:
            os.kill(victim, signal.SIGKILL)
        results.append(result)
    bench.assert_right(results, items)
    assert len(bench.told) == 1
    assert "engine 0 was lost" in bench.told[0]

    health = bench.pool.health()
    assert bench.process(0) != victim
    assert [one.basis_digest for one in health] == [bench.codec.basis.digest] * 2
    assert [one.population for one in health] == [POPULATION] * 2
    items = bench.items()
    before = bench.tokens()
    bench.assert_right(list(bench.pool.run(items)), items)
    assert bench.tokens()[0] > before[0]


def test_an_engine_that_dies_between_runs_gets_the_next_population(bench):
    os.kill(bench.process(1), signal.SIGKILL)
    bench.set_population(seed=4)
    items = bench.items()
    bench.assert_right(list(bench.pool.run(items)), items)
    assert len(bench.told) == 1
    assert "engine 1 was lost" in bench.told[0]
    assert [one.population for one in bench.pool.health()] == [POPULATION] * 2


def test_an_engine_that_dies_between_loads_gets_the_bases_of_the_next(bench, tiny_adapter):
    codec = WeightCodec(tiny_adapter(seed=7))
    (load,) = codec.loads(np.zeros((1, codec.dimension)))
    os.kill(bench.process(1), signal.SIGKILL)
    bench.pool.load(load)
    try:
        assert len(bench.told) == 1
        assert "engine 1 was lost" in bench.told[0]
        given = bench.pool._basis
        bench.pool.load(load)
        assert bench.pool._basis is given, "bases that engines hold are not given to them again"
        health = bench.pool.health()
        assert [one.basis_digest for one in health] == [load.basis.digest] * 2
        assert [one.population for one in health] == [1] * 2
    finally:
        bench.pool.load_basis(bench.codec.engine_basis())


def test_work_for_every_engine_is_done_again_by_one_that_died(bench):
    candidates = [BASE, *range(POPULATION)]
    prompts = PROMPTS[: len(candidates)]
    os.kill(bench.process(0), signal.SIGKILL)
    answers = bench.pool.generate_everywhere(candidates, prompts, GREEDY)
    expected = bench.reference.generate(candidates, prompts, GREEDY)
    assert len(answers) == 2
    for found in answers:
        assert [c.token_ids for (c,) in found] == [c.token_ids for (c,) in expected]
    assert len(bench.told) == 1
    assert "engine 0 was lost" in bench.told[0]


# The tests below start their own engine: the cores of the shared ones are free again by then.


@pytest.fixture(scope="module")
def impatient(shared, nodes, codec, tiny_model) -> Iterator[tuple[EnginePool, list[str]]]:
    shared.pool.close()
    spec = TransformersEngineSpec(
        precision=Precision.FP32, max_batch=4, item_timeout_s=2.0, max_retries=5, max_restarts=1
    )
    told: list[str] = []
    build = build_for(str(tiny_model("qwen2")), codec, spec)
    pool = EnginePool(build, plan_placement(spec, nodes), told.append)
    pool.start()
    yield pool, told
    pool.close()


def test_a_caller_that_is_slow_to_take_results_costs_no_engine(impatient):
    pool, told = impatient
    quick = SamplingParameters(max_tokens=1)
    items = [WorkItem(key, (BASE,), (PROMPTS[key],), quick) for key in range(4)]
    taken = []
    for result in pool.run(items):
        taken.append(result.completions)
        if len(taken) == 1:
            time.sleep(3.0)
    assert len(taken) == 4
    assert None not in taken
    assert told == []


def test_an_item_that_takes_too_long_costs_engines_until_they_are_used_up(impatient):
    pool, told = impatient
    endless = WorkItem(0, (BASE,) * 240, tuple(PROMPTS * 10), SamplingParameters(max_tokens=80))
    with pytest.raises(WorkerLostError, match=r"item_timeout_s 2\. engine\.max_restarts is 1"):
        list(pool.run([endless]))
    assert len(told) == 1
    assert "engine.item_timeout_s 2" in told[0]
