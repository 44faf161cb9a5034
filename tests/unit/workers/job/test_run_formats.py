"""What a run computes in is chosen once, and kept or refused when it resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from essa.number_format import FormatStatus
from essa.spec.grpo import GrpoSpec
from tests.narrowing import of_kind

pytest.importorskip("ray")
pytest.importorskip("torch")

from essa.errors import SpecError
from essa.number_format import ChosenFormats, FormatSpeed, MachineFormats, NumberFormat
from essa.ports import RunControl, RunSite
from essa.records.folder import FORMATS_FILE
from essa.spec import AlignmentJobSpec, Precision
from essa.spec.reading.file import validate_job
from essa.testing import RecordingSink
from workers.job.context import JobRun
from workers.job.formats import settle_formats
from workers.machine import format_probe

SMALL = {
    "float32": "fast", "bfloat16": "emulated", "int8_float32": "fast", "int8_bfloat16": "emulated",
    "int4_float32": "impossible", "int4_bfloat16": "impossible",
}  # fmt: skip
LARGE = dict.fromkeys(SMALL, "fast") | {"int4_float32": "impossible"}
SPEEDS = {"int8_float32": 70.0, "int8_bfloat16": 1700.0, "bfloat16": 900.0}
CONFIG = {
    "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
    "num_attention_heads": 4, "vocab_size": 100,
}  # fmt: skip


class NeverCancelled(RunControl):
    def is_cancelled(self) -> bool:
        return False


class Bench:
    """A run's folder, and a cache that remembers what the machine can do."""

    def __init__(self, folder: Path) -> None:
        self.run, self.cache, self.model = folder / "run", folder / "cache", folder / "model"
        for one in (self.run, self.cache, self.model):
            one.mkdir()
        (self.model / "config.json").write_text(json.dumps(CONFIG))

    def on(self, statuses: dict[str, str]) -> None:
        """Let this machine be another one from here on."""
        machine = MachineFormats(
            device="cpu",
            formats=tuple(
                FormatSpeed(
                    format=one, status=FormatStatus(statuses[one]), gflops=SPEEDS.get(one, 60.0)
                )
                for one in NumberFormat
            ),
        )
        memory = self.cache / "formats" / f"{format_probe._machine_key()}.json"
        memory.parent.mkdir(exist_ok=True)
        memory.write_text(machine.model_dump_json())

    def start(self, spec: AlignmentJobSpec) -> ChosenFormats:
        chosen, event = settle_formats(
            spec, run_dir=self.run, cache_dir=self.cache, model_folder=self.model, nodes=(),
            is_elsewhere=False,
        )  # fmt: skip
        assert event.activations == chosen.activations
        return chosen


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


def job(precision: str, **sections: object) -> AlignmentJobSpec:
    return validate_job(
        {
            "model": {"path": "model"},
            "data": {"train": {"path": "train.jsonl"}},
            "reward": {"type": "sentiment"},
            "engine": {"kind": "vllm", "precision": precision, "kv_cache_gib": 0.1},
        }
        | sections
    )


def test_a_run_keeps_what_its_first_start_has_taken(bench):
    bench.on(LARGE)
    first = bench.start(job("auto"))
    assert (first.precision, first.activations) == (Precision.INT8, "bfloat16")
    bench.on(SMALL)
    assert bench.start(job("auto")) == first
    (bench.run / FORMATS_FILE).unlink()
    assert bench.start(job("auto")).activations == "float32"


def test_a_run_whose_format_is_impossible_here_is_refused_with_the_reason(bench):
    bench.on(LARGE)
    bench.start(job("int4"))
    bench.on(SMALL)
    with pytest.raises(SpecError, match=r"int4_bfloat16 since its first start.*impossible"):
        bench.start(job("int4"))


def test_a_damaged_record_is_named(bench):
    bench.on(LARGE)
    (bench.run / FORMATS_FILE).write_text("{")
    with pytest.raises(SpecError, match=FORMATS_FILE):
        bench.start(job("bf16"))


def test_auto_takes_no_base_that_the_memory_cannot_hold(bench):
    bench.on(LARGE)
    huge = CONFIG | {"hidden_size": 8192, "intermediate_size": 28_672, "num_hidden_layers": 400}
    (bench.model / "config.json").write_text(json.dumps(huge))
    assert bench.start(job("auto")).precision is Precision.INT4


def test_what_was_chosen_takes_the_place_of_every_auto(bench, tmp_path):
    bench.on(SMALL)
    spec = job("auto", method={"type": "grpo"}, batch_size=4)
    run = JobRun(
        spec, RunSite(bench.run, bench.cache, RecordingSink(), NeverCancelled(), Path), 0.0
    )
    run.take(bench.start(spec))
    assert run.spec.engine.precision is Precision.INT8
    assert of_kind(GrpoSpec, run.spec.method).precision == "fp32"
    assert spec.engine.precision == "auto"
