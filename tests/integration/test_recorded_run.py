"""A whole job on real engines leaves its records, and they agree with what it reported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.narrowing import present

pytest.importorskip("torch")
pytest.importorskip("transformers")

import pyarrow.parquet as pq

from essa.events import GenerationEvent, ResultEvent
from essa.parametrize.adapter import read_adapter, write_adapter
from essa.parametrize.basis import BASIS_FILE, AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.ports import RunControl, RunSite
from essa.records.timeline import read_timeline
from essa.records.vectors import kept_generations, read_vector
from essa.spec import AlignmentJobSpec
from essa.testing import RecordingSink
from workers.runner import run_alignment_job

pytestmark = [pytest.mark.engine, pytest.mark.cores]


class NeverCancelled(RunControl):
    def is_cancelled(self) -> bool:
        return False


def make_job(folder: Path, model: Path, adapter: Path) -> AlignmentJobSpec:
    data = {"prompt": {"type": "text"}}
    for name, size in (("train", 12), ("validation", 4), ("test", 4)):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"prompt": f"{name} {n}:"}) + "\n" for n in range(size)))
        data[name] = {"path": str(path)}
    return AlignmentJobSpec.model_validate(
        {
            "model": {"path": str(model)},
            "warm_start": {"type": "adapter", "path": str(adapter)},
            "data": data,
            "reward": {"type": "regex", "pattern": "[A-Z]"},
            "search": {"type": "snes", "population": 4, "sigma_init": 1.0},
            "engine": {"kind": "transformers", "precision": "fp32", "workers": 2, "gate": False},
            "rollout": {"max_tokens": 4},
            "batch_size": 4,
            "budget": {"generations": 2},
        }
    )


def test_a_job_leaves_completions_vectors_and_timeline(tiny_model, tiny_adapter, tmp_path):
    write_adapter(tiny_adapter(), tmp_path / "warm_start")
    spec = make_job(tmp_path, tiny_model("qwen2"), tmp_path / "warm_start")
    run_dir, sink = tmp_path / "run", RecordingSink()
    result = run_alignment_job(
        spec,
        RunSite(run_dir, tmp_path / "cache", sink, NeverCancelled(), Path),
    )
    assert result == sink.of(ResultEvent)[0]

    generations = sink.of(GenerationEvent)
    for event in generations:
        file = run_dir / "rollouts" / f"train-{event.generation:06d}.parquet"
        scores = np.array(pq.read_table(file)["score"].to_pylist()).reshape(4, 4)
        np.testing.assert_allclose(scores.mean(axis=1), np.array(event.fitness, float))
    tested = pq.read_table(run_dir / "rollouts" / "test.parquet").to_pylist()
    told = {(row["prompt"], row["model"]): row["completion"] for row in tested}
    for sample in result.samples:
        for model in ("base", "warm_start", "aligned"):
            assert told[sample.prompt, model] == getattr(sample, model)

    assert kept_generations(run_dir) == [0, 1, 2]
    codec = SingularValueCodec(AdapterBasis.load(run_dir / BASIS_FILE))
    rebuilt = codec.export(read_vector(run_dir, result.selected_generation))
    for ours, theirs in zip(
        rebuilt.modules, read_adapter(run_dir / "adapter").modules, strict=True
    ):
        np.testing.assert_array_equal(ours.lora_A, theirs.lora_A)
        np.testing.assert_array_equal(ours.lora_B, theirs.lora_B)

    works = read_timeline(run_dir)
    spans = [span for work in works if work.kind == "train" for span in work.spans]
    assert {span.engine for span in spans} == {0, 1}
    assert sum(span.tokens for span in spans) == sum(one.generated_tokens for one in generations)
    times = [time for work in works for span in work.spans for time in span[1:3]]
    assert 0 < min(times) < max(times) < result.seconds
    assert [event.samples for event in generations] == [4 + 16, 4 + 2 * 16 + 4]
    assert present(generations[-1].device_s) >= 2 * generations[-1].elapsed_s
