"""An interrupted search goes on as if nothing had happened, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from essa.coordinator.state import Preparation
from essa.errors import CheckpointIncompatibleError, JobCancelledError, StateMismatchError
from essa.events import GenerationEvent, LadderEvent, StageEvent, ValidationEvent
from essa.storage.checkpoint import previous_path
from tests.unit.essa.coordinator.coordinator_bench import Bench, cancel_at, job


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def other_bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "other")


@pytest.mark.parametrize("kind", ["sep_cma_es", "cma_es", "openai_es", "snes", "random"])
def test_six_generations_are_three_and_a_resumed_three_bit_by_bit(bench, other_bench, kind):
    spec = job({"type": kind, "sigma_init": "auto"}, evaluation={"every": 1})
    whole = bench.run(spec)
    with pytest.raises(JobCancelledError):
        other_bench.run(spec, spoil=cancel_at("generation 4"))
    first = other_bench.sink
    resumed = other_bench.run(spec)
    assert "generation 3" not in other_bench.labels()
    np.testing.assert_array_equal(resumed.vector, whole.vector)
    assert resumed.result == whole.result
    for event_kind in (GenerationEvent, ValidationEvent):
        assert first.of(event_kind) + other_bench.sink.of(event_kind) == bench.sink.of(event_kind)
    assert other_bench.sink.of(StageEvent)[0].message == "resumed after generation 3"


def test_the_ladder_and_the_first_validation_are_not_repeated_on_resume(bench):
    spec = job({"type": "snes", "sigma_init": "auto"})
    with pytest.raises(JobCancelledError):
        bench.run(spec, spoil=cancel_at("generation 1"))
    assert bench.sink.of(LadderEvent)
    bench.run(spec)
    assert bench.labels()[0] == "generation 1"
    assert not bench.sink.of(LadderEvent)


def test_a_run_that_only_lacked_its_test_does_nothing_else_on_resume(bench, other_bench):
    with pytest.raises(JobCancelledError):
        bench.run(job(), spoil=cancel_at("test"))
    resumed = bench.run(job())
    assert bench.labels() == ["test"]
    assert resumed.result == other_bench.run(job()).result


def test_a_checkpoint_over_other_bases_is_refused(bench):
    bench.run(job())
    with pytest.raises(CheckpointIncompatibleError, match="bases"):
        bench.run(job(), digest="e" * 64)


@pytest.mark.parametrize(
    ("search", "named"),
    [
        ({"type": "sep_cma_es", "population": 10}, "population 8, this one 10"),
        ({"type": "snes"}, "kind sep_cma_es, this one snes"),
    ],
)
def test_other_search_settings_on_resume_are_refused(bench, search, named):
    with pytest.raises(JobCancelledError):
        bench.run(job(), spoil=cancel_at("generation 3"))
    with pytest.raises(StateMismatchError, match=named):
        bench.run(job(search))


def test_a_damaged_checkpoint_falls_back_with_a_warning(bench, other_bench):
    spec = job(evaluation={"every": 1})
    with pytest.raises(JobCancelledError):
        bench.run(spec, spoil=cancel_at("generation 4"))
    bench.checkpoint.write_bytes(b"PK torn")
    resumed = bench.run(spec)
    assert str(previous_path(bench.checkpoint)) in bench.warnings()["checkpoint_fallback"]
    assert bench.labels()[0] == "generation 3"
    assert resumed.result == other_bench.run(spec).result


def test_what_was_spent_before_counts_once(bench, other_bench):
    spec = job()
    whole = bench.run(spec, before=Preparation(seconds=50.0, tokens=10**6))
    assert whole.result.seconds == 50.0 + 2.0 * len(bench.evaluator.calls)
    assert whole.result.tokens > 10**6
    with pytest.raises(JobCancelledError):
        other_bench.run(
            spec, spoil=cancel_at("generation 1"), before=Preparation(seconds=50.0, tokens=10**6)
        )
    # After a restart the warm start is there already and costs nothing.
    resumed = other_bench.run(spec)
    assert resumed.result.tokens == whole.result.tokens
    assert resumed.result.seconds == whole.result.seconds
