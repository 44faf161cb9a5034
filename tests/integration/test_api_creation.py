"""A job is created once however often its request comes, and checked before it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from alignment_api.app import create_app
from alignment_api.auth.keys import KeyRepository, Scope
from alignment_api.jobs.creation import Created, JobCreation, RequestIdentity
from alignment_api.jobs.insertion import NewJob
from alignment_api.settings import Settings
from alignment_api.store import Store
from essa.spec import AlignmentJobSpec
from tests.integration.api_harness import SCRIPTED_JOB, job_spec
from tests.narrowing import of_kind

JOBS = "/v1/fine_tuning/jobs"
RETRY = {"x-stainless-retry-count": "1"}
FIRST = {"x-stainless-retry-count": "0"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    settings = Settings(
        home=home, auth="off", job_command=SCRIPTED_JOB, poll_s=0.05, reward_python=True
    )
    with TestClient(create_app(settings)) as started:
        yield started


@pytest.fixture
def body(home: Path) -> dict[str, Any]:
    return job_spec(home, name="slow")


def create(
    client: TestClient, body: dict[str, Any], status: int = 200, /, **headers: str
) -> dict[str, Any]:
    answer = client.post(JOBS, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


def count(client: TestClient) -> int:
    return len(client.get(JOBS).json()["data"])


def test_the_same_key_makes_one_job(client: TestClient, body: dict[str, Any]) -> None:
    key = {"Idempotency-Key": "abc-1"}
    first = create(client, body, **key)
    assert create(client, body, **key)["id"] == first["id"]
    assert create(client, body, **{"Idempotency-Key": "abc-2"})["id"] != first["id"]
    assert count(client) == 2


def test_the_same_key_with_another_request_is_a_conflict(
    client: TestClient, body: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "abc-1"}
    first = create(client, body, **key)
    error = create(client, body | {"seed": 5}, 409, **key)["error"]
    assert (error["code"], error["param"]) == ("idempotency_key_reuse", "idempotency-key")
    assert first["id"] in error["message"]
    assert count(client) == 1


def test_a_refused_request_does_not_use_its_key_up(
    client: TestClient, body: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "abc-1"}
    create(client, body | {"reward": {"type": "exact_match"}}, 400, **key)
    create(client, body, **key)


def test_a_silent_retry_is_answered_with_the_job_of_the_first_attempt(
    client: TestClient, body: dict[str, Any]
) -> None:
    first = create(client, body, **FIRST)
    assert create(client, body, **RETRY)["id"] == first["id"]
    again = create(client, body, **FIRST)
    assert again["id"] != first["id"]
    assert create(client, body, **RETRY)["id"] == again["id"]
    assert create(client, body | {"seed": 5}, **RETRY)["id"] not in (first["id"], again["id"])


def test_a_retry_whose_first_attempt_never_came_makes_the_job(
    client: TestClient, body: dict[str, Any]
) -> None:
    create(client, body, **RETRY)
    assert count(client) == 1


@pytest.mark.parametrize("count", ["0", "00", "many", "1" * 5000])
def test_a_count_of_retries_may_be_anything(
    client: TestClient, body: dict[str, Any], count: str
) -> None:
    headers = {"x-stainless-retry-count": count}
    first, second = (client.post(JOBS, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 200)
    is_retry = len(count) > 4
    assert (first.json()["id"] == second.json()["id"]) == is_retry


def test_a_retry_long_after_the_first_attempt_is_a_new_request(home: Path) -> None:
    settings = Settings(home=home, auth="off", job_command=SCRIPTED_JOB, retry_window_s=0)
    with TestClient(create_app(settings)) as client:
        first = create(client, job_spec(home, name="slow"), **FIRST)
        assert create(client, job_spec(home, name="slow"), **RETRY)["id"] != first["id"]


def test_a_clone_is_made_once_for_a_key(client: TestClient, body: dict[str, Any]) -> None:
    job_id = create(client, body)["id"]
    ids = {
        client.post(f"{JOBS}/{job_id}/clone", json={}, headers={"Idempotency-Key": "k"}).json()[
            "id"
        ]
        for _ in range(2)
    }
    assert len(ids) == 1
    assert ids != {job_id}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_sendings_at_once_make_one_job(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 's.sqlite3'}"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    store = Store(url)
    project = KeyRepository(store).ensure_project()
    creation = JobCreation(store, 600)
    spec = AlignmentJobSpec.model_validate(job_spec(tmp_path))
    made: list[Created] = []
    ready = threading.Barrier(8)

    def send() -> None:
        ready.wait()
        identity = RequestIdentity("digest", key="k")
        made.append(creation.create(identity, NewJob(spec, project, slots=1)))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.object_id for one in made}) == 1
    assert sorted(one.is_new for one in made) == [False] * 7 + [True]
    store.close()


def save_config(home: Path) -> Path:
    """A folder with what the service reads of a base."""
    model = home / "model"
    model.mkdir(parents=True)
    sizes = {
        "num_hidden_layers": 3,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1000,
    }
    (model / "config.json").write_text(json.dumps(sizes))
    return model


def test_a_dry_run_tells_what_the_job_would_be_and_queues_nothing(
    client: TestClient, home: Path
) -> None:
    model = save_config(home)
    body = job_spec(home, model={"path": str(model)})
    answer = client.post(JOBS, json=body, params={"validate_only": "true"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["object"], found["is_valid"]) == ("fine_tuning.job.validation", True)
    # Layers x modules x factors x rank.
    assert found["dimension"] == 3 * 4 * 2 * 8
    assert found["estimate"]["memory_bytes"] == sum(found["estimate"]["memory"].values()) > 0
    assert found["estimate"]["sequences"] == 16 * 32
    assert found["spec"]["search"]["population"] == 16
    assert found["warnings"] == []
    assert count(client) == 0


ADAPTER_WEIGHTS = 3 * 8 * (64 + 64 + 64 + 32 + 64 + 32 + 64 + 64)
"""Layers x rank x widths of q, k, v and o."""


@pytest.mark.parametrize(
    ("method", "dimension", "state_bytes"),
    [
        ({}, ADAPTER_WEIGHTS, 8),
        ({"optimizer": "lion_8bit"}, ADAPTER_WEIGHTS, 1),
        ({"parameters": "singular_values"}, 3 * 4 * 2 * 8, 8),
    ],
)
def test_a_dry_run_of_a_training_tells_the_trainers_memory_and_what_is_not_in_it(
    client: TestClient,
    home: Path,
    method: dict[str, Any],
    dimension: int,
    state_bytes: int,
) -> None:
    method = {"type": "grpo", "group_size": 4, "kl_coefficient": 0.1, **method}
    body = job_spec(home, model={"path": str(save_config(home))}, method=method)
    found = client.post(JOBS, json=body, params={"validate_only": "true"}).json()
    assert found["dimension"] == dimension
    estimate = found["estimate"]
    assert estimate["sequences"] == 32 * 4
    assert estimate["memory"]["population"] == 0
    trainer = estimate["trainer_memory"]
    # The adapter that is trained, and the one that the divergence is from.
    assert trainer["adapter"] == 2 * 4 * ADAPTER_WEIGHTS
    assert trainer["gradient"] == 4 * dimension
    assert trainer["optimizer"] == state_bytes * dimension
    assert trainer["logits"] == 2 * 4 * 16 * body_tokens(found) * 1000
    (warning,) = found["warnings"]
    assert "activations are not reckoned" in warning


def test_a_dry_run_of_best_of_n_knows_memory_and_no_generations(
    client: TestClient, home: Path
) -> None:
    method = {"type": "best_of_n", "samples": 4}
    body = job_spec(home, model={"path": str(save_config(home))}, method=method)
    estimate = client.post(JOBS, json=body, params={"validate_only": "true"}).json()["estimate"]
    assert (estimate["sequences"], estimate["generation_s"], estimate["total_s"]) == (0, None, None)
    assert estimate["memory"]["kv_cache"] > 0


def body_tokens(validation: dict[str, Any]) -> int:
    return validation["spec"]["rollout"]["max_tokens"]


def test_a_dry_run_says_what_it_cannot_know(client: TestClient, body: dict[str, Any]) -> None:
    found = client.post(JOBS, json=body, params={"validate_only": "true"}).json()
    assert found["dimension"] is None
    assert found["estimate"]["memory_bytes"] is None
    assert found["estimate"]["total_s"] is None
    assert "config.json" in found["warnings"][0]


def test_a_dry_run_refuses_what_a_job_would_be_refused_for(
    client: TestClient, body: dict[str, Any]
) -> None:
    wrong = body | {"reward": {"type": "exact_match"}}
    answers = [client.post(JOBS, json=wrong, params=query) for query in ({}, {"validate_only": 1})]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].json() == answers[1].json()


def test_jobs_are_listed_by_state_name_and_metadata(
    client: TestClient, body: dict[str, Any]
) -> None:
    red = create(client, body | {"metadata": {"colour": "red"}, "name": "slow"})["id"]
    create(client, body | {"metadata": {"colour": "blue"}})

    def listed(**query: str) -> list[str]:
        return [job["id"] for job in client.get(JOBS, params=query).json()["data"]]

    assert listed(**{"metadata[colour]": "red"}) == [red]
    assert listed(q=red[-8:]) == [red]
    assert listed(status="succeeded") == []
    answer = client.get(JOBS, params={'metadata["]': "x"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, 'metadata["]')


def test_a_job_names_its_model_and_its_data(client: TestClient, body: dict[str, Any]) -> None:
    given = {"suffix": "kind", "metadata": {"a": "b"}}
    job = create(client, body | given | {"name": "quick"})
    assert job["object"] == "fine_tuning.job"
    assert job["fine_tuned_model"] is None
    assert job["training_file"] == body["data"]["train"]["path"]
    assert (job["organization_id"], job["user_provided_suffix"]) == ("proj_default", "kind")
    assert job["method"] == {"type": "evolution"}


def test_code_needs_a_key_that_may_send_it(home: Path) -> None:
    settings = Settings(home=home, job_command=SCRIPTED_JOB, reward_python=True)
    python = {"type": "python", "source": "def grade(sample, item):\n    return 1.0\n"}
    nested = {"type": "composite", "components": [{"name": "mine", "reward": python}]}
    with TestClient(create_app(settings)) as client:
        keys: KeyRepository = of_kind(FastAPI, client.app).state.keys
        project = keys.ensure_project()
        secrets = {
            name: keys.add(name, scopes, project).secret
            for name, scopes in {
                "plain": [Scope.READ, Scope.SUBMIT],
                "coder": [Scope.READ, Scope.SUBMIT, Scope.CODE],
            }.items()
        }
        run = {"grader": nested, "samples": [{"completion": "a"}]}
        requests = [
            (JOBS, job_spec(home, name="slow", reward=nested)),
            (f"{JOBS}?validate_only=true", job_spec(home, reward=nested)),
            ("/v1/fine_tuning/alpha/graders/run", run),
            ("/v1/fine_tuning/alpha/graders/validate", {"grader": nested}),
        ]
        for path, body in requests:
            for name, status in (("plain", 403), ("coder", 200)):
                headers = {"Authorization": f"Bearer {secrets[name]}"}
                answer = client.post(path, json=body, headers=headers)
                assert answer.status_code == status, answer.text
        # What a job has in it already cannot be cloned without the scope either.
        coder = {"Authorization": f"Bearer {secrets['coder']}"}
        job_id = client.get(JOBS, headers=coder).json()["data"][0]["id"]
        plain = {"Authorization": f"Bearer {secrets['plain']}"}
        answer = client.post(f"{JOBS}/{job_id}/clone", json={}, headers=plain)
        assert answer.json()["error"]["code"] == "insufficient_scope"


def test_jobs_and_files_of_another_project_are_not_there(home: Path) -> None:
    settings = Settings(home=home, job_command=SCRIPTED_JOB)
    with TestClient(create_app(settings)) as client:
        keys: KeyRepository = of_kind(FastAPI, client.app).state.keys
        mine, theirs = (
            {
                "Authorization": "Bearer "
                + keys.add(name, list(Scope), keys.ensure_project(name)).secret
            }
            for name in ("mine", "theirs")
        )
        content = b"".join(b'{"prompt": "p%d"}\n' % number for number in range(16))
        upload = {"file": ("mine.jsonl", content)}
        file_id = client.post("/v1/files", files=upload, headers=mine).json()["id"]
        body = job_spec(home, name="slow", data={"train": {"file_id": file_id}})
        job_id = client.post(JOBS, json=body, headers=mine).json()["id"]
        paths = [
            ("GET", f"{JOBS}/{job_id}"),
            ("GET", f"{JOBS}?after={job_id}"),
            *(("GET", f"{JOBS}/{job_id}/{part}") for part in ("events", "checkpoints")),
            ("GET", f"{JOBS}/{job_id}/generations"),
            ("GET", f"{JOBS}/{job_id}/events?stream=true"),
            *(("POST", f"{JOBS}/{job_id}/{what}") for what in ("cancel", "pause", "resume")),
            ("GET", f"/v1/files/{file_id}"),
            ("GET", f"/v1/files/{file_id}/content"),
            ("DELETE", f"/v1/files/{file_id}"),
        ]
        for method, path in paths:
            assert client.request(method, path, headers=theirs).status_code == 404, path
        clone = client.post(f"{JOBS}/{job_id}/clone", json={}, headers=theirs)
        assert clone.status_code == 404
        answer = client.post(JOBS, json=body, headers=theirs)
        assert answer.status_code == 400
        assert file_id in answer.json()["error"]["message"]
        assert client.get(JOBS, headers=theirs).json()["data"] == []
        assert client.get("/v1/files", headers=theirs).json()["data"] == []


def test_a_file_can_be_fetched_and_deleted_once_no_job_needs_it(
    client: TestClient, home: Path
) -> None:
    content = b"".join(b'{"prompt": "p%d"}\n' % number for number in range(16))
    upload = {"file": ("mine.jsonl", content)}
    file = client.post("/v1/files", files=upload, data={"purpose": "fine-tune"}).json()
    assert (file["purpose"], file["status"]) == ("fine-tune", "processed")
    path = f"/v1/files/{file['id']}"
    assert client.get(f"{path}/content").content == content
    job_id = create(client, job_spec(home, name="slow", data={"train": {"file_id": file["id"]}}))[
        "id"
    ]
    refused = client.delete(path)
    assert refused.status_code == 409
    assert job_id in refused.json()["error"]["message"]
    client.post(f"{JOBS}/{job_id}/pause")
    assert client.delete(path).status_code == 409
    client.post(f"{JOBS}/{job_id}/cancel")
    deadline = 300
    while client.get(f"{JOBS}/{job_id}").json()["status"] != "cancelled" and deadline:
        deadline -= 1
        threading.Event().wait(0.05)
    assert client.delete(path).json() == {"id": file["id"], "object": "file", "deleted": True}
    assert client.get(path).status_code == 404
    assert list((home / "files").iterdir()) == []


def test_files_come_in_pages_in_either_order(client: TestClient) -> None:
    ids = [
        client.post("/v1/files", files={"file": (f"{n}.jsonl", b'{"prompt": "a"}\n')}).json()["id"]
        for n in range(3)
    ]
    page = client.get("/v1/files", params={"limit": 2}).json()
    assert [file["id"] for file in page["data"]] == [ids[2], ids[1]]
    assert (page["has_more"], page["last_id"]) == (True, ids[1])
    rest = client.get("/v1/files", params={"after": page["last_id"]}).json()
    assert [file["id"] for file in rest["data"]] == [ids[0]]
    query = {"order": "asc", "after": ids[0], "purpose": "fine-tune"}
    assert [file["id"] for file in client.get("/v1/files", params=query).json()["data"]] == ids[1:]
    assert client.get("/v1/files", params={"purpose": "other"}).json()["data"] == []


def test_a_purpose_that_is_not_offered_is_refused(client: TestClient) -> None:
    upload = {"file": ("a.jsonl", b'{"prompt": "a"}\n')}
    answer = client.post("/v1/files", files=upload, data={"purpose": "assistants"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "purpose")
