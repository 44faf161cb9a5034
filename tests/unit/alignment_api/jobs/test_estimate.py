"""Which earlier job an estimate takes its pace from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alignment_api.auth.keys import KeyRepository
from alignment_api.jobs.answers import Estimate
from alignment_api.jobs.estimate import forecast
from alignment_api.jobs.events import EventRepository
from alignment_api.jobs.insertion import NewJob, add_job
from alignment_api.jobs.repository import JobRepository
from alignment_api.store import Store
from essa.events import Event, GenerationEvent, StepEvent
from essa.spec import AlignmentJobSpec

ROUND: dict[str, Any] = {
    "generation": 3, "best": 1.0, "mean": 0.5, "worst": 0.0, "step_norm": 0.1, "distance": 0.2,
    "missing_scores": 0, "rollout_s": 8.0, "reward_s": 0.0, "coordinator_s": 0.0,
    "elapsed_s": 30.0, "eta_s": None, "fitness": [],
}  # fmt: skip
GRPO = {"type": "grpo", "group_size": 4}


def job(**parts: Any) -> AlignmentJobSpec:
    return AlignmentJobSpec.model_validate(
        {
            "model": {"path": "org/model"},
            "data": {"train": {"path": "train.jsonl"}},
            "reward": {"type": "sentiment"},
            "batch_size": 4,
            "budget": {"generations": 10},
            **parts,
        }
    )


def generation(tokens: int, tokens_per_s: float) -> GenerationEvent:
    return GenerationEvent(
        **ROUND, generated_tokens=tokens, tokens_per_s=tokens_per_s, sigma=0.1, reliability=None
    )


def step(tokens: int, tokens_per_s: float, train_s: float) -> StepEvent:
    return StepEvent(**ROUND, generated_tokens=tokens, tokens_per_s=tokens_per_s, train_s=train_s)


class Bench:
    """A project with earlier jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(f"sqlite:///{folder / 'store.sqlite3'}")
        self.project = KeyRepository(self.store).ensure_project()
        self.events = EventRepository(self.store)
        self.earlier: list[str] = []

    def add(self, spec: AlignmentJobSpec, event: Event | None = None) -> str:
        with self.store.change() as connection:
            job_id = add_job(connection, NewJob(spec, self.project))
        if event is not None:
            self.events.append(job_id, event)
        self.earlier.insert(0, job_id)
        return job_id

    def estimate(self, spec: AlignmentJobSpec) -> Estimate:
        jobs = JobRepository(self.store)
        earlier = [jobs.get(job_id) for job_id in self.earlier]
        return forecast(spec, self.folder, earlier, self.events).estimate


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def test_the_newest_job_on_the_same_base_and_engines_sets_the_pace(bench: Bench) -> None:
    like = bench.add(job(), generation(16 * 4 * 50, 100.0))
    bench.add(job(), None)
    bench.add(job(engine={"kind": "vllm", "workers": 2}), generation(640, 900.0))
    bench.add(job(model={"path": "org/other"}), generation(640, 900.0))
    found = bench.estimate(job(batch_size=8))
    assert (found.sequences, found.based_on) == (16 * 8, like)
    # As many tokens an answer as there, at the same rate.
    assert found.generation_s == pytest.approx(16 * 8 * 50 / 100)
    assert found.total_s == pytest.approx(10 * 16 * 8 * 50 / 100)


def test_a_training_takes_its_pace_from_the_same_training_alone(bench: Bench) -> None:
    like = bench.add(job(method=GRPO), step(16 * 50, 100.0, train_s=4.0))
    bench.add(job(method=GRPO | {"micro_batch": 8}), step(16 * 50, 100.0, train_s=40.0))
    bench.add(job(), generation(16 * 4 * 50, 100.0))
    found = bench.estimate(job(method=GRPO, batch_size=8))
    assert (found.sequences, found.based_on) == (32, like)
    assert found.generation_s == pytest.approx(32 * 50 / 100 + 2 * 4.0)


def test_without_a_like_job_no_time_is_told(bench: Bench) -> None:
    bench.add(job(), generation(640, 0.0))
    found = bench.estimate(job())
    assert (found.generation_s, found.total_s, found.based_on) == (None, None, None)
    assert bench.estimate(job(method={"type": "best_of_n"})).sequences == 0
