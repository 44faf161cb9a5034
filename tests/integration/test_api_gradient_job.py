"""A job by gradients over REST: submitted, watched, paused, resumed, cancelled, exported."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl")
pytest.importorskip("ray")

from essa.parametrize.adapter import read_adapter, write_adapter
from tests.integration.api_harness import Service, job_processes, running_service, wait_until

pytestmark = pytest.mark.engine

JOBS = "/v1/fine_tuning/jobs"
GROUP, BATCH, STEPS = 4, 4, 6
JOB_COMMAND = ("-m", "alignment_api.execution.job_process")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("home")
    with running_service(home, job_command=None, engine_slots=1) as running:
        yield running


@pytest.fixture(scope="module")
def body(service, tiny_model, tiny_adapter, tmp_path_factory) -> dict[str, Any]:
    """OpenAI's request: files are uploaded, settings stand in the method's object."""
    folder = tmp_path_factory.mktemp("job")
    write_adapter(tiny_adapter(strength=0.5), folder / "warm_start")
    files = {}
    for name, size in (("training", 12), ("validation", 4), ("test", 4)):
        rows = "".join(json.dumps({"prompt": f"{name} {n}:"}) + "\n" for n in range(size))
        sent = {"file": (f"{name}.jsonl", rows.encode())}
        answer = service.client.post("/v1/files", files=sent, data={"purpose": "fine-tune"})
        assert answer.is_success, answer.text
        files[f"{name}_file"] = answer.json()["id"]
    settings = {
        "reward": {"type": "regex", "pattern": "[A-Z]{2}"},
        "warm_start": {"type": "adapter", "path": str(folder / "warm_start")},
        "prompt": {"type": "text"},
        "engine": {"kind": "transformers", "precision": "fp32", "workers": 1, "gate": False},
        "rollout": {"max_tokens": 6},
        "batch_size": BATCH,
        "budget": {"generations": STEPS},
        "evaluation": {"every": 2},
        "group_size": GROUP,
        "learning_rate": 0.02,
        "precision": "fp32",
    }
    method = {"type": "grpo", "grpo": settings}
    return {"model": str(tiny_model("llama")), "method": method, "seed": 1, **files}


def submit(service: Service, body: dict[str, Any]) -> str:
    answer = service.client.post(JOBS, json=body)
    assert answer.is_success, answer.text
    return answer.json()["id"]


def steps(service: Service, job_id: str) -> list[dict[str, Any]]:
    return service.client.get(f"{JOBS}/{job_id}/generations").json()["data"]


def wait_for_step(service: Service, job_id: str, step: int) -> None:
    def is_there() -> bool:
        job = service.job(job_id)
        assert job["status"] in ("queued", "running"), job["error"]
        return (job["essa"]["progress"]["generation"] or 0) >= step

    wait_until(is_there, f"step {step}", timeout_s=300)


def finish(service: Service, job_id: str) -> dict[str, Any]:
    job = service.wait_for(job_id, "succeeded", "failed", "cancelled", timeout_s=300)
    log = service.settings.job_dir(job_id) / "job.log"
    assert job["status"] == "succeeded", (job["error"], log.read_text()[-3000:])
    return job


def export(service: Service, job_id: str, folder: Path) -> Path:
    answer = service.client.get(f"{JOBS}/{job_id}/export", params={"format": "adapter"})
    assert answer.status_code == 200, answer.text
    zipfile.ZipFile(io.BytesIO(answer.content)).extractall(folder)
    return folder


def flat(adapter: Path) -> np.ndarray:
    modules = read_adapter(adapter).modules
    return np.concatenate([part.ravel() for one in modules for part in (one.lora_A, one.lora_B)])


def test_a_paused_job_goes_on_as_an_undisturbed_one_and_is_exported(service, body, tmp_path):
    whole, paused = submit(service, body), submit(service, body)
    done = finish(service, whole)
    assert done["method"]["type"] == "grpo"
    wait_for_step(service, paused, 3)
    service.client.post(f"{JOBS}/{paused}/pause")
    service.wait_for(paused, "paused", timeout_s=60)
    service.client.post(f"{JOBS}/{paused}/resume")
    again = finish(service, paused)
    assert again["essa"]["starts"] == 2

    told = []
    for job_id in (whole, paused):
        entries = steps(service, job_id)
        assert [one["generation"] for one in entries] == list(range(1, STEPS + 1))
        names = ("fitness", "mean", "training", "step_norm")
        told.append([[one[name] for name in names] for one in entries])
    assert told[0] == told[1]
    first = steps(service, whole)[0]
    assert first["sigma"] is None
    assert first["train_s"] > 0
    assert first["training"].keys() >= {"loss", "grad_norm", "entropy", "learning_rate"}
    assert len(first["fitness"]) == BATCH
    adapters = [export(service, job_id, tmp_path / job_id) for job_id in (whole, paused)]
    np.testing.assert_array_equal(flat(adapters[0]), flat(adapters[1]))
    assert "GRPO" in (adapters[0] / "README.md").read_text()

    found = service.client.get(f"{JOBS}/{whole}/rollouts", params={"set": "train", "generation": 1})
    assert found.json()["total"] == BATCH * GROUP
    assert service.client.get(f"{JOBS}/{whole}/checkpoints").json()["data"] == []
    kinds = {
        event["data"]["type"]
        for event in service.client.get(f"{JOBS}/{whole}/events", params={"limit": 500}).json()[
            "data"
        ]
    }
    assert kinds >= {"stage", "warm_start", "generation", "validation", "result"}
    assert "ladder" not in kinds
    metrics = service.client.get(f"{JOBS}/{whole}/metrics").json()["points"]
    assert metrics[-1]["samples"] > STEPS * BATCH * GROUP
    assert done["essa"]["result"]["host_peak_bytes"] > 10**8


def test_a_job_is_cancelled_while_it_trains_and_leaves_no_process(service, body):
    job_id = submit(service, body)
    wait_for_step(service, job_id, 1)
    service.client.post(f"{JOBS}/{job_id}/cancel")
    job = service.wait_for(job_id, "cancelled", "failed", "succeeded", timeout_s=60)
    assert job["status"] == "cancelled"
    wait_until(lambda: not job_processes(job_id, JOB_COMMAND), "its process to end")
    assert service.client.get(f"{JOBS}/{job_id}/export").status_code == 409
