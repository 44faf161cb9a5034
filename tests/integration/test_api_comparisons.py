"""Comparisons over REST with scripted jobs: order, results, report, failing, cancelling."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from alignment_api.app import create_app
from alignment_api.settings import Settings
from tests.integration.api_harness import (
    SCRIPTED_JOB,
    Service,
    job_spec,
    running_service,
    wait_until,
)

SCRIPT = (sys.executable, str(Path(__file__).parents[1] / "comparison_job.py"))
PATH = "/v1/comparisons"


def body(folder: Path, **changes: Any) -> dict[str, Any]:
    """Two arms with one seed."""
    job = {name: value for name, value in job_spec(folder).items() if name != "name"}
    arms = {"essa": {}, "grpo": {"method": {"type": "grpo"}}}
    return {
        "name": "two ways", "job": job, "arms": arms, "reference": "grpo", "seeds": [0], **changes,
    }  # fmt: skip


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    home, url = tmp_path_factory.mktemp("home"), None
    with pytest.MonkeyPatch.context() as environment:
        if request.param == "postgresql":
            url = request.getfixturevalue("postgres").new_database()
            # Job processes read the address from the environment.
            environment.setenv("ESSA_DATABASE_URL", url)
        with running_service(home, job_command=SCRIPT, database_url=url, engine_slots=2) as started:
            yield started


def create(service: Service, status: int = 200, **changes: Any) -> dict[str, Any]:
    answer = service.client.post(PATH, json=body(service.settings.home, **changes))
    assert answer.status_code == status, answer.text
    return answer.json()


def ended(service: Service, comparison_id: str) -> dict[str, Any]:
    def get() -> dict[str, Any]:
        return service.client.get(f"{PATH}/{comparison_id}").json()

    wait_until(lambda: get()["status"] not in ("queued", "running"), f"{comparison_id} to end")
    return get()


@pytest.fixture(scope="module")
def done(service: Service) -> dict[str, Any]:
    return ended(service, create(service)["id"])


def test_every_arm_runs_and_is_held_against_the_reference(service, done):
    assert (done["object"], done["status"], done["arms"]) == (
        "comparison", "succeeded", ["essa", "grpo"],
    )  # fmt: skip
    assert [(run["arm"], run["seed"]) for run in done["runs"]] == [("essa", 0), ("grpo", 0)]
    essa, grpo = done["results"]["time_to_target"]
    # The script reaches 0.7 after 15 s and after 45 s; samples are a second each, less the 9 of
    # the warm start.
    assert essa["spent"] == {"wall_s": 15.0, "device_s": 30.0, "tokens": 2000.0, "samples": 16.0}
    assert essa["ratio"]["wall_s"] == 3.0
    assert grpo["spent"]["wall_s"] == 45.0
    assert done["results"]["curves"]["essa"]["wall_s"] == {
        "x": [5.0, 10.0, 15.0], "mean": [0.3, 0.5, 0.7], "low": [0.3, 0.5, 0.7],
        "high": [0.3, 0.5, 0.7],
    }  # fmt: skip
    assert [one["peak_ratio"] for one in done["results"]["costs"]] == [3.0, 1.0]
    (table, *_) = done["tables"]
    assert table["title"] == "Time to target"
    assert table["rows"][0][:3] == ["essa", "1 of 1", "15.0 s; 3×"]


def test_the_second_job_starts_from_what_the_first_has_made_and_nothing_runs_beside(service, done):
    first, second = (service.job(run["job_id"]) for run in done["runs"])
    assert second["essa"]["waits_for"] == first["id"]
    assert first["essa"]["waits_for"] is None
    warm_start = second["essa"]["spec"]["warm_start"]
    assert warm_start["path"] == str(service.settings.run_dir(first["id"]) / "warm_start")
    assert second["essa"]["started_at"] >= first["finished_at"]
    assert (first["essa"]["slots"], second["essa"]["slots"]) == (2, 2)
    found = service.client.get(
        "/v1/fine_tuning/jobs", params={"metadata[comparison]": done["id"]}
    ).json()["data"]
    assert {job["id"] for job in found} == {first["id"], second["id"]}
    assert found[0]["metadata"]["arm"] == "grpo"


def test_the_report_is_one_file_without_scripts(service, done):
    page = service.client.get(f"{PATH}/{done['id']}/report")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "sandbox" in page.headers["content-security-policy"]
    assert page.text.count("<svg") == 4
    assert "<script" not in page.text
    text = service.client.get(f"{PATH}/{done['id']}/report", params={"format": "md"})
    assert text.headers["content-type"] == "text/markdown; charset=utf-8"
    assert "| essa | 1 of 1 | 15.0 s; 3× |" in text.text
    assert f"$ESSA_URL/v1/comparisons/{done['id']}/report?format=md" in text.text
    refused = service.client.get(f"{PATH}/{done['id']}/report", params={"format": "pdf"})
    assert refused.status_code == 400


def test_jobs_that_wait_for_a_warm_start_fail_with_the_one_that_makes_it(service):
    arms = {"broken": {"budget": {"tokens": 13}}, "essa": {}}
    found = ended(service, create(service, arms=arms, reference="essa")["id"])
    assert found["status"] == "failed"
    first, second = found["runs"]
    assert (first["status"], second["status"]) == ("failed", "failed")
    error = service.job(second["job_id"])["error"]
    assert error["code"] == "awaited_job_ended"
    assert f"job {first['job_id']}, which makes the warm start" in error["message"]
    assert found["results"] is None
    text = service.client.get(f"{PATH}/{found['id']}/report", params={"format": "md"}).text
    assert f"({second['job_id']}) is failed." in text.replace("\\_", "_")


def test_comparisons_are_listed_newest_first(service, done):
    ids = [done["id"]]
    arms = {"a": {}, "b": {"budget": {"tokens": 13}}}
    ids.insert(0, create(service, arms=arms, reference="a")["id"])
    ended(service, ids[0])
    page = service.client.get(PATH, params={"limit": 1}).json()
    assert (page["data"][0]["id"], page["has_more"]) == (ids[0], True)
    assert (page["first_id"], page["last_id"]) == (ids[0], ids[0])
    assert "results" not in page["data"][0]
    rest = service.client.get(PATH, params={"after": ids[0]}).json()
    assert ids[1] in [one["id"] for one in rest["data"]]
    answer = service.client.get(PATH, params={"after": "cmp-none"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "comparison_not_found")


# -- without running anything ------------------------------------------------------------------


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    # A job that waits for a file that never comes: nothing ends by itself.
    with TestClient(create_app(Settings(home=tmp_path, auth="off", job_command=SCRIPTED_JOB))) as c:
        yield c


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"reference": "sft"}, "reference", "use one of essa, grpo"),
        ({"seeds": [0, 0]}, "seeds", "given twice"),
        ({"seeds": []}, "seeds", ""),
        ({"arms": {"essa": {}}}, "arms", ""),
        ({"arms": {"a": {"reward": {"type": "length"}}, "b": {}}, "reference": "b"},
         "arms.a.reward", "not the same task"),
        ({"arms": {"a": {"batch_size": 1}, "b": {}}, "reference": "b"},
         "arms.a.batch_size", "set it to 2 or more"),
        ({"arms": {"a": {"engine": {"workers": 9999}}, "b": {}}, "reference": "b"},
         "engine.workers", "ESSA_ENGINE_SLOTS"),
        ({"job": {"model": {"path": "org/model"}}}, "job.data", ""),
        ({"job": "job.yaml"}, "job", ""),
        ({"extra": 1}, "extra", ""),
    ],
)  # fmt: skip
def test_a_wrong_comparison_names_arm_and_field_and_queues_nothing(
    client, tmp_path, changes, param, words
):
    answer = client.post(PATH, json=body(tmp_path, **changes))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["param"], words in error["message"]) == (param, True), error
    assert client.get("/v1/fine_tuning/jobs").json()["data"] == []
    assert client.get(PATH).json()["data"] == []


def test_a_file_that_is_missing_is_told_with_the_arm(client, tmp_path):
    sent = body(tmp_path)
    sent["job"]["data"] = {"train": {"path": str(tmp_path / "none.jsonl")}}
    error = client.post(PATH, json=sent).json()["error"]
    assert error["param"] == "arms.essa: data.train.path"


def test_a_request_that_is_sent_again_makes_no_second_comparison(client, tmp_path):
    sent, key = body(tmp_path), {"Idempotency-Key": "once"}
    first = client.post(PATH, json=sent, headers=key).json()
    assert client.post(PATH, json=sent, headers=key).json()["id"] == first["id"]
    assert len(client.get(PATH).json()["data"]) == 1
    other = client.post(PATH, json=sent | {"seeds": [1]}, headers=key)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reuse")


def test_cancelling_cancels_every_job_and_can_be_repeated(client, tmp_path):
    client.post("/v1/fine_tuning/jobs", json=job_spec(tmp_path, name="slow"))
    wait_until(
        lambda: client.get("/healthz").json()["running_jobs"] != [], "a job that takes the machine"
    )
    found = client.post(PATH, json=body(tmp_path, seeds=[0, 1])).json()
    assert found["status"] == "queued"
    for _ in range(2):
        answer = client.post(f"{PATH}/{found['id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert {run["status"] for run in answer.json()["runs"]} == {"cancelled"}


def test_a_project_sees_its_own_comparisons_only_and_scopes_count(tmp_path):
    keys: list[str] = []
    settings = Settings(home=tmp_path, job_command=SCRIPTED_JOB, requests_per_minute=60_000)
    with TestClient(create_app(settings, on_first_key=keys.append)) as client:
        admin = {"Authorization": f"Bearer {keys[0]}"}
        own = client.post(PATH, json=body(tmp_path), headers=admin).json()["id"]

        def made(**given: Any) -> dict[str, str]:
            key = client.post(
                "/v1/organization/keys", json={"name": "k", **given}, headers=admin
            ).json()["value"]
            return {"Authorization": f"Bearer {key}"}

        reader = made(scopes=["read"])
        assert client.get(f"{PATH}/{own}", headers=reader).status_code == 200
        assert client.post(PATH, json=body(tmp_path), headers=reader).status_code == 403
        assert client.post(f"{PATH}/{own}/cancel", headers=reader).status_code == 403
        client.post("/v1/organization/projects", json={"name": "other"}, headers=admin)
        foreign = made(scopes=["read", "submit"], project="other")
        for path in (f"{PATH}/{own}", f"{PATH}/{own}/report"):
            answer = client.get(path, headers=foreign)
            assert answer.json()["error"]["code"] == "comparison_not_found", path
        assert client.get(PATH, headers=foreign).json()["data"] == []
        assert client.get(PATH).status_code == 401
        # Nothing is left running when the service stops.
        client.post(f"{PATH}/{own}/cancel", headers=admin)


def test_the_document_of_the_api_names_the_comparisons(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"get", "post"} == set(paths[PATH])
    assert json.dumps(paths["/v1/comparisons/{comparison_id}"]).count("comparison")
