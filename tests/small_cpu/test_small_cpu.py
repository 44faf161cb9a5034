"""The whole path on an x86-64 CPU with AVX2 and no more.

A larger CPU is made to compute like one: what these tests start reads `SMALL_CPU`, and says itself
which library it loaded. On a CPU that is small the variables change nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from essa.number_format import FormatStatus, MachineFormats, NumberFormat
from essa.spec import Precision
from tests.narrowing import present
from workers.machine.cpu_capability import SMALL_CPU

pytest.importorskip("vllm")

pytestmark = [pytest.mark.small_cpu]

ROOT = Path(__file__).parents[2]
LOADED = """
from pathlib import Path
from workers.machine.cpu_capability import honour_lowered_capability

honour_lowered_capability()
import torch
import vllm._custom_ops

maps = Path("/proc/self/maps").read_text()
names = {Path(line.split()[-1]).name for line in maps.splitlines() if "/vllm/_C" in line}
print(torch.backends.cpu.get_cpu_capability(), *sorted(names))
"""


def small(*command: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment as on a small CPU."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env=os.environ | SMALL_CPU, capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip


def run_job(tmp_path: Path, job: str, *settings: str) -> dict[str, list[dict[str, Any]]]:
    """Run a job to its end; its events by type."""
    flags = [part for setting in settings for part in ("--set", setting)]
    done = small(
        "-m", "alignment_api.cli.main", "run", job,
        "--home", str(tmp_path / "home"), "--run-dir", str(tmp_path / "run"), *flags,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    events: dict[str, list[dict[str, Any]]] = {}
    for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        events.setdefault(event["type"], []).append(event)
    return events


def test_vllm_loads_its_library_for_avx2_as_torch_does():
    done = small("-c", LOADED)
    assert done.stdout.split() == ["AVX2", "_C_AVX2.abi3.so"], done.stderr[-2000:]


def test_bfloat16_is_found_to_be_emulated_and_int4_to_be_impossible():
    done = small("-m", "workers.machine.format_probe")
    found = MachineFormats.model_validate_json(done.stdout.splitlines()[-1])
    assert found[NumberFormat.FLOAT32].status is FormatStatus.FAST
    assert found[NumberFormat.BFLOAT16].status is FormatStatus.EMULATED
    native, emulated = found[NumberFormat.FLOAT32].gflops, found[NumberFormat.BFLOAT16].gflops
    assert present(emulated) < 0.5 * present(native)
    assert found[NumberFormat.INT4_BFLOAT16].status is FormatStatus.IMPOSSIBLE
    assert found.training == "float32"
    assert {found.activations(one) for one in (Precision.BF16, Precision.INT8)} == {"float32"}


def test_an_int4_base_is_refused_before_the_job_starts(tmp_path):
    done = small(
        "-m", "alignment_api.cli.main", "validate", "examples/upbeat/job.yaml",
        "--home", str(tmp_path), "--set", "engine.precision=int4",
    )  # fmt: skip
    assert done.returncode == 2
    assert "engine.precision" in done.stderr
    assert "auto" in done.stderr
    assert "Traceback" not in done.stderr


def test_arithmetic_is_learned(tmp_path):
    events = run_job(
        tmp_path, "examples/arithmetic/job.yaml",
        "warm_start.sft.epochs=1", "budget.generations=2", "batch_size=32",
        "data.test.limit=200", "data.validation.limit=100",
    )  # fmt: skip
    (result,) = events["result"]
    scores = {name: one["mean"] for name, one in result["test"].items()}
    assert scores["base"] < 0.1 < 0.2 < scores["warm_start"]
    assert result["generations"] == 2


def test_a_chat_model_is_trained_gated_and_searched_on_vllm(tmp_path):
    events = run_job(
        tmp_path, "examples/upbeat/job.yaml",
        "engine.precision=int8", "engine.workers=1", "engine.kv_cache_gib=0.5",
        "warm_start.max_prompts=8", "warm_start.sft.epochs=1", "search.sigma_init=3.0",
        "search.population=4", "batch_size=8", "budget.generations=1", "budget.target_score=null",
        "data.validation.limit=8", "data.test.limit=8", "rollout.max_tokens=16",
        "evaluation.serving_precision=int8",
    )  # fmt: skip
    (chosen,) = events["format"]
    assert (chosen["precision"], chosen["activations"]) == ("int8", "float32")
    assert chosen["training"] == "float32"
    assert chosen["formats"]["bfloat16"] == "emulated"
    (gate,) = events["gate"]
    assert gate["zeroed_nats"] < 0.01
    assert [event["generation"] for event in events["generation"]] == [1]
    (result,) = events["result"]
    assert result["test"]["aligned"]["prompts"] == 8
