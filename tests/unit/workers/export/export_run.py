"""A finished run's folder, written by the functions that runs use, around a real model folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from essa.events import ResultEvent, ScoreSummary, ServingScores
from essa.parametrize.adapter import LoraAdapter, write_adapter
from essa.parametrize.basis import BASIS_FILE, AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.records.vectors import write_vector
from essa.spec import AlignmentJobSpec, Precision
from workers.export.provenance import BaseRecord, CheckpointRecord, DataRecord, Provenance
from workers.models.store import ModelStore

SELECTED, LAST = 4, 6


def write_run(
    run_dir: Path,
    model: Path,
    adapter: LoraAdapter,
    *,
    cache_dir: Path,
    target: str = "factors",
    searched: CheckpointRecord | None = None,
    step: float = 1.0,
) -> SingularValueCodec:
    """Write bases, mean vectors of generations 0 to LAST, adapter, provenance and result."""
    basis = AdapterBasis.decompose(adapter, target, 1.0)
    basis.save(run_dir / BASIS_FILE)
    codec = SingularValueCodec(basis)
    for generation in range(LAST + 1):
        write_vector(run_dir, generation, vector(codec, generation, step))
    aligned = codec.export(vector(codec, SELECTED, step))
    write_adapter(aligned, run_dir / "adapter", base_model_name=str(model))
    digest = ModelStore(cache_dir).digest(model)
    served = CheckpointRecord(precision=Precision.BF16, folder=str(model), digest=digest)
    engine = {"precision": (searched or served).precision}
    spec = AlignmentJobSpec.model_validate(
        {
            "name": "polite | <b>",
            "model": {"path": str(model)},
            "data": {"train": {"path": "train.jsonl", "limit": 40}},
            "reward": {"type": "sentiment"},
            "search": {"type": "sep_cma_es", "target": target},
            "engine": {"kind": "vllm", **engine},
            "seed": 11,
        }
    )
    Provenance(
        spec=spec.model_dump(mode="json"),
        base=BaseRecord(
            name=model.name, is_hub=False, folder=str(model), digest=digest, licence="apache-2.0"
        ),
        searched=searched or served,
        served=served,
        data=(DataRecord(set="train", name="train.jsonl", sha256="a" * 64, rows=50, limit=40),),
        sizes={"train": 28, "validation": 6, "test": 6},
        versions={"numpy": "2.0", "essa-service": "0.1.0"},
        started_at=1,
    ).save(run_dir)
    (run_dir / "result.json").write_text(result(str(run_dir / "adapter")).model_dump_json())
    return codec


def vector(codec: SingularValueCodec, generation: int, step: float) -> np.ndarray:
    """Mean after a generation; zeros at 0."""
    rng = np.random.default_rng(generation)
    return (generation > 0) * step * rng.normal(size=codec.dimension)


def result(adapter: str) -> ResultEvent:
    """Scores on two bases."""

    def scores(shift: float) -> dict[str, ScoreSummary]:
        means = {"base": 0.125, "warm_start": 0.25, "aligned": 0.75}
        return {
            name: ScoreSummary(
                mean=mean + shift, ci95=(mean + shift - 0.05, mean + shift + 0.05), prompts=6
            )
            for name, mean in means.items()
        }

    return ResultEvent(
        test=scores(0.0),
        serving=ServingScores(precision="bf16", test=scores(0.01)),
        validation=ScoreSummary(mean=0.8, ci95=(0.7, 0.9), prompts=6),
        selected_generation=SELECTED,
        generations=LAST,
        stop_reason="generations",
        seconds=12.0,
        tokens=1234,
        adapter=adapter,
        samples=[],
    )
