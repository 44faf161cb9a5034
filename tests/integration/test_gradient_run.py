"""A whole job by GRPO: engines roll out, TRL trains in its own process, the best is exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from tests.narrowing import present

pytest.importorskip("torch")
pytest.importorskip("trl")

import pyarrow.parquet as pq

from essa.errors import JobCancelledError, JobConflictError
from essa.events import Event, ResultEvent, StepEvent, ValidationEvent
from essa.parametrize.adapter import read_adapter, write_adapter
from essa.parametrize.weights import WeightCodec
from essa.ports import RunControl, RunSite
from essa.records.timeline import read_timeline
from essa.spec import AlignmentJobSpec
from essa.spec.export import ExportSpec
from essa.testing import RecordingSink
from tests.integration.test_recorded_run import NeverCancelled, make_job
from workers import runner
from workers.cluster.placement import Node
from workers.cluster.ray_cluster import ray_cluster
from workers.export.card import model_card
from workers.export.source import RunSource
from workers.runner import run_alignment_job

pytestmark = [pytest.mark.engine, pytest.mark.cores]

STEPS = 4


class CancelAfter(RunControl):
    """The user cancels once a step has been reported."""

    def __init__(self, sink: RecordingSink, step: int) -> None:
        self._sink, self._step = sink, step

    def is_cancelled(self) -> bool:
        return any(one.generation >= self._step for one in self._sink.of(StepEvent))


def grpo_job(folder: Path, model: Path, adapter: Path, **method: object) -> AlignmentJobSpec:
    """Capital letters, one by one: every completion has a score of its own."""
    spec = make_job(folder, model, adapter).model_dump(mode="json")
    spec["reward"] = {"type": "regex", "pattern": "[A-Z]{2}"}
    spec["method"] = {
        "type": "grpo",
        "group_size": 8,
        "learning_rate": 0.02,
        "precision": "fp32",
        **method,
    }
    spec["budget"] = {"generations": STEPS}
    spec["rollout"] = {"max_tokens": 6}
    return AlignmentJobSpec.model_validate(spec)


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    """One local cluster for all runs: to start one takes longer than a run."""
    with ray_cluster() as found:
        yield found


@pytest.fixture(autouse=True)
def one_cluster(nodes, monkeypatch):
    monkeypatch.setattr(runner, "ray_cluster", lambda: nullcontext(nodes))


def run(
    spec: AlignmentJobSpec,
    folder: Path,
    control: RunControl | None = None,
    sink: RecordingSink | None = None,
) -> tuple[ResultEvent, RecordingSink]:
    sink = sink or RecordingSink()
    result = run_alignment_job(
        spec,
        RunSite(folder / "run", folder / "cache", sink, control or NeverCancelled(), Path),
    )
    return result, sink


def told(events: list[Event]) -> list[tuple]:
    return [
        (one.generation, one.mean, one.training["loss"], one.training["grad_norm"])
        for one in events
        if isinstance(one, StepEvent)
    ]


def test_a_job_trains_and_exports_what_validation_picked_and_resumes_where_it_was(
    tiny_model, tiny_adapter, tmp_path
):
    model, adapter = tiny_model("llama"), tmp_path / "warm_start"
    write_adapter(tiny_adapter(strength=0.5), adapter)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()

    result, sink = run(grpo_job(whole, model, adapter), whole)
    generations = sink.of(StepEvent)
    assert [one.generation for one in generations] == [1, 2, 3, 4]
    for one in generations:
        assert len(one.fitness) == 4
        assert one.train_s > 0
        assert one.training["grad_norm"] > 0
        made_before = present(generations[0].samples) - 32
        assert present(one.samples) - made_before >= 32 * one.generation
    picked = max(sink.of(ValidationEvent), key=lambda one: (one.score, -one.generation))
    assert (result.selected_generation, present(result.validation).mean) == (
        picked.generation,
        picked.score,
    )
    assert generations[-1].distance > 0
    trained = read_adapter(whole / "run" / "adapter")
    start = read_adapter(adapter)
    assert [one.name for one in trained.modules] == [one.name for one in start.modules]
    run_dir = whole / "run"
    rows = pq.read_table(run_dir / "rollouts" / "train-000001.parquet").to_pylist()
    assert len(rows) == 4 * 8
    assert {one["candidate"] for one in rows} == set(range(8))
    scores = {None if one["score"] is None else float(one["score"]) for one in rows}
    assert scores <= {0.0, 1.0}
    works = [(one.kind, one.generation) for one in read_timeline(run_dir)]
    assert [one for one in works if one[0] == "train"] == [("train", n) for n in range(1, 5)]
    card = model_card(RunSource(run_dir), ExportSpec())
    assert "GRPO, as TRL's GRPOTrainer does it (adamw, 8 completions a prompt)" in card
    assert "trained all weights of the adapter" in card
    assert "Rollouts ran on fp32, gradients went through fp32" in card
    assert "evolution" not in card.split("## Specification")[0]
    with pytest.raises(JobConflictError, match="moves all weights"):
        model_card(RunSource(run_dir), ExportSpec(checkpoint=2))

    first = RecordingSink()
    with pytest.raises(JobCancelledError):
        run(grpo_job(broken, model, adapter), broken, CancelAfter(first, 3), first)
    again, second = run(grpo_job(broken, model, adapter), broken)
    # Checkpoints are made with every second step: the third is made once more.
    assert told(second.events) == told(sink.events)[2:]
    assert again.selected_generation == result.selected_generation
    codec = WeightCodec(start)
    weights = [
        {
            one.name: (one.lora_A, one.lora_B)
            for one in read_adapter(folder / "run" / "adapter").modules
        }
        for folder in (whole, broken)
    ]
    np.testing.assert_array_equal(codec.vector(weights[0]), codec.vector(weights[1]))
