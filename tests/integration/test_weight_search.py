"""A search over all weights of the adapter, the control of the search over singular values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from essa.events import GenerationEvent
from essa.parametrize.adapter import read_adapter, write_adapter
from essa.parametrize.weights import WeightCodec
from essa.ports import RunSite
from essa.records.vectors import kept_generations
from essa.spec import AlignmentJobSpec
from essa.testing import RecordingSink
from tests.integration.test_recorded_run import NeverCancelled, make_job
from workers.runner import run_alignment_job

pytestmark = [pytest.mark.engine, pytest.mark.cores]


def test_all_weights_move_and_the_result_is_a_plain_adapter(tiny_model, tiny_adapter, tmp_path):
    start = tiny_adapter()
    write_adapter(start, tmp_path / "warm_start")
    spec = make_job(tmp_path, tiny_model("qwen2"), tmp_path / "warm_start").model_dump(mode="json")
    spec["search"] = {
        "type": "openai_es", "population": 4, "sigma_init": 0.5, "target": "weights"
    }  # fmt: skip
    sink = RecordingSink()
    result = run_alignment_job(
        AlignmentJobSpec.model_validate(spec),
        RunSite(tmp_path / "run", tmp_path / "cache", sink, NeverCancelled(), Path),
    )
    generations = sink.of(GenerationEvent)
    assert [len(one.fitness) for one in generations] == [4, 4]
    assert len({value for one in generations for value in one.fitness}) > 1
    assert generations[-1].distance > 0
    assert kept_generations(tmp_path / "run") == []

    codec = WeightCodec(start)
    found = {
        one.name: (one.lora_A, one.lora_B)
        for one in read_adapter(tmp_path / "run" / "adapter").modules
    }
    moved = codec.vector(found)
    assert codec.dimension == sum(m.lora_A.size + m.lora_B.size for m in start.modules)
    assert bool(np.count_nonzero(moved)) == (result.selected_generation > 0)
