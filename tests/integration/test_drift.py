"""What aligned models have changed and forgotten, measured on real engines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from essa.errors import SpecError
from essa.parametrize.adapter import LoraAdapter, LoraModule, write_adapter
from essa.ports import RunSite
from essa.spec import AlignmentJobSpec
from essa.testing import RecordingSink
from tests.integration.test_recorded_run import NeverCancelled, make_job
from workers.drift import Drift, measure_drift
from workers.runner import run_alignment_job

pytestmark = [pytest.mark.engine, pytest.mark.cores]


def doubled(adapter: LoraAdapter) -> LoraAdapter:
    modules = [
        LoraModule(one.name, one.lora_A, (2 * one.lora_B).astype(np.float32), one.scaling)
        for one in adapter.modules
    ]
    return LoraAdapter(tuple(modules), adapter.config)


@pytest.fixture(scope="module")
def finished(tiny_model, tiny_adapter, tmp_path_factory) -> tuple[Path, AlignmentJobSpec]:
    """A short run, and its job."""
    folder = tmp_path_factory.mktemp("drift")
    write_adapter(tiny_adapter(strength=0.3), folder / "warm_start")
    spec = make_job(folder, tiny_model("llama"), folder / "warm_start")
    run_alignment_job(
        spec,
        RunSite(folder / "run", folder / "cache", RecordingSink(), NeverCancelled(), Path),
    )
    return folder / "run", spec


def measured(runs: dict[str, Path], task: AlignmentJobSpec, cache: Path) -> dict[str, Drift]:
    cache.mkdir(exist_ok=True)
    return measure_drift(
        runs,
        task,
        RunSite(cache, cache, RecordingSink(), NeverCancelled(), Path),
    )


def test_models_are_measured_against_their_base(finished, tiny_adapter, tmp_path):
    run_dir, task = finished
    start = tiny_adapter(strength=0.3)
    # Adapters whose effect is known stand for two results.
    for name, adapter in (("same", start), ("twice", doubled(start))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "provenance.json").write_bytes((run_dir / "provenance.json").read_bytes())
        write_adapter(adapter, folder / "adapter")
    found = measured(
        {"same": tmp_path / "same", "twice": tmp_path / "twice"}, task, tmp_path / "cache"
    )
    assert list(found) == ["base", "warm_start", "same", "twice"]
    assert (found["base"].kl_nats, found["base"].change) == (0.0, None)
    assert found["warm_start"].change == 0
    assert found["same"] == found["warm_start"]
    assert found["twice"].change == pytest.approx(1, rel=1e-5)
    assert 0 < found["warm_start"].kl_nats < found["twice"].kl_nats
    for one in found.values():
        assert 0 <= one.score <= 1
        assert one.missing == 0
        assert 0 < one.mean_tokens <= 4
        # A model over a hundred characters: at most ln 100 a token, and not certain.
        assert 0 < one.entropy_nats < 4.7


def test_runs_of_other_bases_are_refused(finished, tmp_path):
    run_dir, task = finished
    other = tmp_path / "other"
    other.mkdir()
    record = json.loads((run_dir / "provenance.json").read_text())
    record["base"]["digest"] = "0" * 64
    (other / "provenance.json").write_text(json.dumps(record))
    with pytest.raises(SpecError, match=r"different base models: .*other 000000000000"):
        measured({"one": run_dir, "other": other}, task, tmp_path / "cache")
