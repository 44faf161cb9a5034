"""A job that trains nothing, on real engines: its score is of the best of several answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from essa.events import ResultEvent, RoundEvent, ValidationEvent
from essa.parametrize.adapter import read_adapter, write_adapter
from essa.ports import RunSite
from essa.spec import AlignmentJobSpec
from essa.testing import RecordingSink
from tests.integration.test_recorded_run import NeverCancelled, make_job
from workers.runner import run_alignment_job

pytestmark = [pytest.mark.engine, pytest.mark.cores]


def run(spec: AlignmentJobSpec, folder: Path) -> tuple[ResultEvent, RecordingSink]:
    sink = RecordingSink()
    result = run_alignment_job(
        spec,
        RunSite(folder / "run", folder / "cache", sink, NeverCancelled(), Path),
    )
    return result, sink


def test_the_best_answers_count_the_adapter_stays_and_a_second_run_agrees(
    tiny_model, tiny_adapter, tmp_path
):
    start = tiny_adapter()
    write_adapter(start, tmp_path / "warm_start")
    given = make_job(tmp_path, tiny_model("qwen2"), tmp_path / "warm_start").model_dump(mode="json")
    given["method"] = {"type": "best_of_n", "samples": 6, "temperature": 2.0}
    # Letters of which the greedy answer need not have one, and one of six hot answers has.
    given["reward"] = {"type": "regex", "pattern": "[b-mB-M]"}
    given["engine"]["precision"] = "bf16"
    given["evaluation"] = {"serving_precision": "fp32"}
    spec = AlignmentJobSpec.model_validate(given)

    result, sink = run(spec, tmp_path)
    assert sink.of(RoundEvent) == []
    (validated,) = sink.of(ValidationEvent)
    assert validated.samples == 6 * 4
    assert set(result.test) == {"base", "warm_start", "aligned"}
    assert result.test["aligned"].prompts == 4
    assert result.serving is not None
    for test in (result.test, result.serving.test):
        assert test["aligned"].mean > test["warm_start"].mean
    kept = {one.name: one.lora_B @ one.lora_A for one in start.modules}
    for module in read_adapter(tmp_path / "run" / "adapter").modules:
        np.testing.assert_allclose(module.lora_B @ module.lora_A, kept[module.name], atol=1e-5)

    again, _ = run(spec, tmp_path)
    assert again.test["aligned"].mean == pytest.approx(result.test["aligned"].mean)
