"""The whole path with every named component real: REST, job process, Ray, vLLM, search, adapter."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

pytest.importorskip("vllm")

from essa.parametrize.adapter import write_adapter
from essa.records.vectors import read_vector
from tests.integration.api_harness import (
    Service,
    free_port,
    running_service,
    serve_process,
    wait_until,
)

pytestmark = [pytest.mark.engine, pytest.mark.cores]

ROOT = Path(__file__).resolve().parents[2]
TEST_PROMPTS = 40


@pytest.fixture(scope="module")
def job(tiny_model, tiny_adapter, tmp_path_factory) -> dict:
    """A small job from a given adapter: answer with as many capital letters as possible."""
    folder = tmp_path_factory.mktemp("job")
    write_adapter(tiny_adapter(strength=0.5), folder / "warm_start")
    words = ("river", "table", "cloud", "stone", "lamp", "paper", "horse", "green")
    paths = {}
    for name, size in (("train", 48), ("validation", 24), ("test", TEST_PROMPTS)):
        path = folder / f"{name}.jsonl"
        rows = [{"prompt": f"{words[i % 8]} {name} {i}:"} for i in range(size)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths[name] = {"path": str(path)}
    return {
        "name": "capitals",
        "model": {"path": str(tiny_model("llama"))},
        "warm_start": {"type": "adapter", "path": str(folder / "warm_start")},
        "data": {**paths, "prompt": {"type": "text"}},
        "reward": {
            "type": "composite",
            "components": [
                {"name": "starts", "reward": {"type": "regex", "pattern": "^[A-Z]"}},
                {"name": "any", "reward": {"type": "regex", "pattern": "[A-Z]{2}"}},
            ],
        },
        "search": {
            "type": "sep_cma_es",
            "population": 8,
            "ladder": {"sigmas": [0.3, 1.0], "candidates": 6},
        },
        "engine": {
            "kind": "vllm",
            "precision": "fp32",
            "workers": 2,
            "kv_cache_gib": 0.2,
            "max_model_len": 64,
        },
        "rollout": {"max_tokens": 8},
        "batch_size": 16,
        "budget": {"generations": 6},
        "evaluation": {"every": 3},
    }


@dataclass(frozen=True)
class Finished:
    """What the service answers about a job that succeeded."""

    result: dict
    events: list[dict]
    generations: list[dict]
    adapter: Path
    rebuilt: Path
    """The same generation by its number, from the vector that was kept."""

    def of(self, kind: str) -> list[dict]:
        return [event for event in self.events if event["type"] == kind]


def _run(job: dict, folder: Path) -> Finished:
    with running_service(folder / "home", job_command=None, engine_slots=2) as service:
        answer = service.client.post("/v1/fine_tuning/jobs", json=job)
        assert answer.status_code == 200, answer.text
        job_id = answer.json()["id"]
        finished = service.wait_for(job_id, "succeeded", "failed", "cancelled", timeout_s=600)
        log = service.settings.job_dir(job_id) / "job.log"
        assert finished["status"] == "succeeded", (finished["error"], log.read_text()[-3000:])
        path = f"/v1/fine_tuning/jobs/{job_id}"
        query = {"limit": 1000, "order": "asc"}
        events = service.client.get(f"{path}/events", params=query).json()
        generations = service.client.get(f"{path}/generations").json()
        archive = service.client.get(f"{path}/export", params={"format": "adapter"}).content
        selected = {"checkpoint": finished["essa"]["result"]["selected_generation"]}
        again = service.client.get(f"{path}/export", params=selected).content
    adapter, rebuilt = folder / "adapter", folder / "rebuilt"
    zipfile.ZipFile(io.BytesIO(archive)).extractall(adapter)
    zipfile.ZipFile(io.BytesIO(again)).extractall(rebuilt)
    return Finished(
        finished["essa"]["result"],
        [event["data"] for event in events["data"]],
        generations["data"],
        adapter,
        rebuilt,
    )


def test_a_job_runs_from_rest_to_an_adapter_that_peft_scores_the_same(job, tmp_path):
    done = _run(job, tmp_path)
    kinds = {event["type"] for event in done.events}
    assert {"stage", "gate", "ladder", "generation", "validation", "result"} <= kinds
    assert len(done.generations) == 6
    assert all(len(one["fitness"]) == 8 for one in done.generations)
    test = done.result["test"]
    assert all(score["prompts"] == TEST_PROMPTS for score in test.values())
    # Six generations on a random model still move a reward this easy.
    assert test["aligned"]["mean"] > test["warm_start"]["mean"]
    # The base that was searched is the one to be served.
    assert done.result["serving"] is None
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (done.rebuilt / name).read_bytes() == (done.adapter / name).read_bytes()
    card = (done.adapter / "README.md").read_text()
    assert _sha256(job["data"]["test"]["path"]) in card
    assert f"| aligned | fp32 | {test['aligned']['mean']:.3f} |" in card
    score = _score_with_peft(job, done.adapter, tmp_path)
    assert score == pytest.approx(test["aligned"]["mean"], abs=2 / TEST_PROMPTS)


def test_a_search_on_gptq_int4_is_scored_on_the_bf16_base_too_and_exported_for_it(
    job, tmp_path, activations_here
):
    activations_here("int4")
    engine = {
        **job["engine"],
        "precision": "int4",
        "quantization": {"method": "gptq", "samples": 16},
        "workers": 1,
        "cores_per_worker": 1,
    }
    done = _run(
        {
            **job,
            "engine": engine,
            "search": {**job["search"], "sigma_init": 1.0},
            "rollout": {**job["rollout"], "batch_invariant": True},
            "budget": {"generations": 1},
        },
        tmp_path,
    )
    said = [event["message"] for event in done.of("stage")]
    assert any(line.startswith("calibrating on 16 texts") for line in said)

    (gate,) = done.of("gate")
    assert gate["precision"] == "int4"
    assert not gate["cached"]
    assert len(gate["candidates"]) == 2
    stages = [event.get("stage", event["type"]) for event in done.events]
    assert stages.index("gate") < stages.index("search") < stages.index("export")

    serving = done.result["serving"]
    assert serving["precision"] == "bf16"
    assert list(serving["test"]) == ["base", "warm_start", "aligned"]
    assert all(score["prompts"] == TEST_PROMPTS for score in serving["test"].values())
    assert not any(score["missing"] for score in serving["test"].values())
    low, high = done.result["test"]["aligned"]["ci95"]
    is_outside = not low <= serving["test"]["aligned"]["mean"] <= high
    assert [event["code"] for event in done.of("warning")].count("precision_gap") == is_outside

    configuration = json.loads((done.adapter / "adapter_config.json").read_text())
    assert configuration["base_model_name_or_path"] == job["model"]["path"]


def test_killed_engines_and_a_killed_service_change_no_fitness_and_no_vector(job, tmp_path):
    # On one core each, BF16 answers do not depend on what else is in the batch.
    job = {
        **job,
        "engine": {**job["engine"], "precision": "bf16", "cores_per_worker": 1},
        "rollout": {**job["rollout"], "batch_invariant": True},
        "search": {**job["search"], "sigma_init": 1.0},
        "budget": {"generations": 8},
    }
    calm = _run(job, tmp_path / "calm")
    home = tmp_path / "rough"
    with _killable(home) as (process, service):
        job_id = service.client.post("/v1/fine_tuning/jobs", json=job).json()["id"]
        _wait_for_generation(service, job_id, 2)
        # Ray's worker process and vLLM's engine are one process.
        _engines_of(process)[0].kill()
        _wait_for_generation(service, job_id, 4)
        orphans = _engines_of(process)
        process.kill()
        process.wait()
        psutil.wait_procs(orphans, timeout=60)
    with _killable(home) as (_, service):
        finished = service.wait_for(job_id, "succeeded", "failed", timeout_s=600)
        log = service.settings.job_dir(job_id) / "job.log"
        assert finished["status"] == "succeeded", (finished["error"], log.read_text()[-3000:])
        path = f"/v1/fine_tuning/jobs/{job_id}"
        generations = service.client.get(f"{path}/generations").json()["data"]
    assert finished["essa"]["starts"] == 2
    assert [row["fitness"] for row in generations] == [row["fitness"] for row in calm.generations]
    (calm_run,) = (tmp_path / "calm" / "home" / "jobs").glob("*/run")
    for number in range(1, 9):
        expected, found = (
            read_vector(run, number) for run in (calm_run, _run_dir(service, job_id))
        )
        assert np.array_equal(found, expected)


@contextmanager
def _killable(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], Service]]:
    with serve_process(home, free_port(), ESSA_JOB_COMMAND="", ESSA_ENGINE_SLOTS="2") as started:
        yield started


def _run_dir(service: Service, job_id: str) -> Path:
    return service.settings.job_dir(job_id) / "run"


def _wait_for_generation(service: Service, job_id: str, generation: int) -> None:
    def is_there() -> bool:
        job = service.job(job_id)
        assert job["status"] in ("queued", "running"), job["error"]
        return (job["essa"]["progress"]["generation"] or 0) >= generation

    wait_until(is_there, f"generation {generation}", timeout_s=300)


def _engines_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "EngineActor" in " ".join(child.cmdline())]


def _sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _score_with_peft(job: dict, adapter: Path, folder: Path) -> float:
    job_file = folder / "job.json"
    job_file.write_text(json.dumps(job))
    command = [sys.executable, str(ROOT / "benchmarks" / "adapter_score.py"), "--threads", "1"]
    done = subprocess.run(
        [*command, "--job", str(job_file), "--adapter", str(adapter)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])["score"]
