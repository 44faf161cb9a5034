"""Integrations of a job: refused while their library is missing, and served by its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from alignment_api.forwarders.opening import LIBRARIES, is_installed
from tests.integration.api_harness import job_spec, running_service

JOBS = "/v1/fine_tuning/jobs"
WANDB = {"type": "wandb", "wandb": {"project": "essa"}}


@pytest.mark.parametrize("integration", [WANDB, {"type": "mlflow"}, {"type": "tensorboard"}])
def test_a_job_is_refused_while_its_integration_cannot_work(
    tmp_path: Path, integration: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = str(integration["type"])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if is_installed(kind) and kind != "mlflow":
        pytest.skip(f"{LIBRARIES[kind]} is installed")
    home = tmp_path / "home"
    with running_service(home) as service:
        spec = job_spec(home, integrations=[integration])
        answer = service.client.post(JOBS, json=spec)
        file = {"file": ("p.jsonl", b'{"prompt": "p"}\n' * 16)}
        uploaded = service.client.post("/v1/files", files=file, data={"purpose": "fine-tune"})
        request = {
            "model": "org/model",
            "training_file": uploaded.json()["id"],
            "method": {"type": "evolution", "evolution": {"reward": {"type": "sentiment"}}},
            "integrations": [integration],
        }
        same = service.client.post(JOBS, json=request)
    for refused in (answer, same):
        error = refused.json()["error"]
        assert (refused.status_code, error["param"]) == (400, "integrations.0.type")
        fixes = (f"pip install 'essa-service[{kind}]'", "MLFLOW_TRACKING_URI is not set")
        assert any(fix in error["message"] for fix in fixes)


def test_an_unknown_integration_is_refused_by_name(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_service(home) as service:
        spec = job_spec(home, integrations=[{"type": "comet"}])
        error = service.client.post(JOBS, json=spec).json()["error"]
    assert error["param"].startswith("integrations.0")
    assert "tensorboard" in error["message"]


def test_a_job_writes_event_files_beside_its_events(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    home = tmp_path / "home"
    with running_service(home) as service:
        job_id = service.submit(integrations=[{"type": "tensorboard"}])
        job = service.wait_for(job_id, "succeeded")
        events = service.client.get(f"{JOBS}/{job_id}/events").json()["data"]
        # The process closes its files after the job has its state.
        folder = service.settings.job_dir(job_id) / "run" / "tensorboard"
    assert job["integrations"] == [{"type": "tensorboard", "tensorboard": {}}]
    (file,) = folder.iterdir()
    assert b"train/fitness_best" in file.read_bytes()
    assert not any(event["data"]["type"] == "warning" for event in events)
