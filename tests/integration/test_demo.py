"""`make demo` as a user runs it, on a model of two layers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.narrowing import present

pytest.importorskip("vllm")

pytestmark = [pytest.mark.engine, pytest.mark.cores]

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SILENCE_S = 10.0


@pytest.fixture(scope="module")
def job_file(tiny_model, tmp_path_factory) -> Path:
    """Answers with capital letters, from a warm start that is sampled."""
    folder = tmp_path_factory.mktemp("job")
    words = ("river", "table", "cloud", "stone", "lamp", "paper", "horse", "green")
    paths = {}
    for name, size in (("train", 48), ("validation", 24), ("test", 40)):
        path = folder / f"{name}.jsonl"
        rows = [{"prompt": f"{words[i % 8]} {name} {i}:"} for i in range(size)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths[name] = {"path": str(path)}
    job = {
        "name": "capitals",
        "model": {"path": str(tiny_model("llama"))},
        "warm_start": {
            "type": "rejection_sampling",
            "lora": {"rank": 4, "lora_alpha": 16},
            "sft": {"learning_rate": 1e-2, "epochs": 2},
        },
        "data": {**paths, "prompt": {"type": "text"}},
        "reward": {"type": "regex", "pattern": "[A-Z]"},
        "engine": {"kind": "vllm", "precision": "fp32", "workers": 2, "max_model_len": 64},
        "rollout": {"max_tokens": 8},
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    return path


@pytest.fixture(scope="module")
def demo(job_file, tmp_path_factory) -> tuple[int, list[tuple[float, str]], Path]:
    """Exit status, the lines with the seconds at which they came, and the folder written to."""
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(ROOT / "examples" / "upbeat" / "demo.py")]
    command += ["--job", str(job_file), "--out", str(out), "--set", "evaluation.every=4"]
    # Its layers are too narrow for int8.
    command += ["--set", "engine.precision=fp32"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = [(time.monotonic(), line.rstrip("\n")) for line in present(process.stdout)]
    return process.wait(), lines, out


def test_it_ends_well_and_writes_its_figures(demo) -> None:
    status, lines, out = demo
    assert status == 0, "\n".join(line for _, line in lines)
    figures = json.loads((out / "result.json").read_text())
    assert set(figures["test"]) == {"base", "warm_start", "aligned"}
    assert figures["generations"] >= 4
    assert Path(figures["adapter"]).is_dir()
    assert figures["estimate_s"] == pytest.approx(sum(figures["estimate_parts_s"].values()), abs=1)
    assert figures["estimate_parts_s"]["before"] < figures["seconds"]
    assert figures["scale"]["generations"] == figures["generations"]
    # The gate is tried too; a machine has the memory for a model of two layers.
    assert figures["speeds"].pop("precision") == "fp32"
    assert all(speed > 0 for speed in figures["speeds"].values())


def test_the_estimate_is_told_before_the_work(demo) -> None:
    _, lines, _ = demo
    texts = [line for _, line in lines]
    told = next(i for i, line in enumerate(texts) if line.startswith("the whole demo will take"))
    assert texts[told - 1].startswith("so: a warm start from ")
    assert next(i for i, line in enumerate(texts) if line.startswith("generation 1 ")) > told


def test_no_silence_is_longer_than_ten_seconds(demo) -> None:
    _, lines, _ = demo
    pauses = [(later - earlier, line) for (earlier, line), (later, _) in pairwise(lines)]
    # The last line comes once the service has been stopped.
    assert max(pauses[:-1])[0] <= LONGEST_SILENCE_S, max(pauses[:-1])


def test_training_steps_and_engine_starts_are_counted(demo) -> None:
    _, lines, _ = demo
    text = "\n".join(line for _, line in lines)
    assert "[start_engines] 2/2 starting vllm engines, fp32 weights, float32 activations" in text
    assert "training steps, loss" in text
