"""Keys over HTTP: who gets in, what each scope allows, and what is written down."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from alignment_api.app import create_app
from alignment_api.settings import Settings
from tests.integration.api_harness import SCRIPTED_JOB, Answer, job_spec
from tests.narrowing import of_kind, present

JOBS = "/v1/fine_tuning/jobs"
OPEN_PATHS = {"/healthz", "/metrics", "/readyz"}


@pytest.fixture
def first_keys() -> list[str]:
    return []


@pytest.fixture
def service(tmp_path: Path, first_keys: list[str]) -> Iterator[TestClient]:
    settings = Settings(
        home=tmp_path, job_command=SCRIPTED_JOB, poll_s=0.05, requests_per_minute=60_000
    )
    with TestClient(create_app(settings, on_first_key=first_keys.append)) as client:
        yield client


@pytest.fixture
def admin(service: TestClient, first_keys: list[str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {first_keys[0]}"}


def make_key(service: TestClient, admin: dict[str, str], **given: Any) -> tuple[str, dict]:
    answer = service.post("/v1/organization/keys", json={"name": "k", **given}, headers=admin)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"], {"Authorization": f"Bearer {answer.json()['value']}"}


def code_of(answer: Answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["code"]


def test_the_first_start_makes_one_key_and_later_ones_none(tmp_path: Path) -> None:
    for expected in (1, 0):
        made: list[str] = []
        settings = Settings(home=tmp_path, job_command=SCRIPTED_JOB)
        with TestClient(create_app(settings, on_first_key=made.append)):
            assert len(made) == expected


def test_no_route_under_v1_answers_without_a_key(service: TestClient) -> None:
    routes = [
        route for route in of_kind(FastAPI, service.app).routes if isinstance(route, APIRoute)
    ]
    checked = 0
    for route in routes:
        if not route.path.startswith("/v1/"):
            continue
        path = route.path.replace("{", "").replace("}", "")
        for method in route.methods:
            answer = service.request(method, path)
            assert answer.status_code == 401, f"{method} {route.path}: {answer.status_code}"
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            checked += 1
    assert checked > 20


def test_a_wrong_key_is_refused_and_not_shown_whole(service: TestClient, admin: dict) -> None:
    wrong = "essa-" + "x" * 40
    answer = service.get(JOBS, headers={"Authorization": f"Bearer {wrong}"})
    assert code_of(answer, 401) == "invalid_api_key"
    assert wrong not in answer.text
    assert service.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/v1/files", JOBS])
@pytest.mark.parametrize("key", [None, "essa-wrong"])
def test_the_body_of_a_stranger_is_not_read(
    service: TestClient, path: str, key: str | None
) -> None:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    kind = b"multipart/form-data; boundary=x" if path == "/v1/files" else b"application/json"
    headers = [(b"transfer-encoding", b"chunked"), (b"content-type", kind)]
    if key is not None:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("10.0.0.1", 1),
        "app": service.app,
    }
    app: Any = service.app
    present(service.portal).call(app, scope, receive, send)
    assert sent[0]["status"] == 401


def test_a_read_key_reads_and_does_nothing_else(
    service: TestClient, admin: dict, tmp_path: Path
) -> None:
    _, reader = make_key(service, admin, scopes=["read"])
    assert service.get(JOBS, headers=reader).status_code == 200
    sent = service.post(JOBS, json=job_spec(tmp_path / "data"), headers=reader)
    assert code_of(sent, 403) == "insufficient_scope"
    assert code_of(service.get("/v1/organization/keys", headers=reader), 403)
    assert service.get(JOBS, headers=admin).json()["data"] == []


def test_projects_do_not_see_each_others_jobs_and_files(
    service: TestClient, admin: dict, tmp_path: Path
) -> None:
    assert service.post("/v1/organization/projects", json={"name": "b"}, headers=admin)
    _, ours = make_key(service, admin)
    _, theirs = make_key(service, admin, project="b")
    job = service.post(JOBS, json=job_spec(tmp_path / "data"), headers=ours).json()
    upload = {"file": ("a.jsonl", b'{"prompt": "a"}\n')}
    file = service.post(
        "/v1/files", files=upload, data={"purpose": "fine-tune"}, headers=ours
    ).json()
    assert service.get(f"{JOBS}/{job['id']}", headers=ours).status_code == 200
    for path in (f"{JOBS}/{job['id']}", f"{JOBS}/{job['id']}/events", f"/v1/files/{file['id']}"):
        code_of(service.get(path, headers=theirs), 404)
    code_of(service.post(f"{JOBS}/{job['id']}/cancel", headers=theirs), 404)
    assert service.get(JOBS, headers=theirs).json()["data"] == []
    assert service.get("/v1/files", headers=theirs).json()["data"] == []
    stolen = {**job_spec(tmp_path / "data"), "data": {"train": {"file_id": file["id"]}}}
    refused = service.post(JOBS, json=stolen, headers=theirs)
    assert refused.status_code in (400, 404)
    assert file["id"] in refused.text


@pytest.mark.parametrize("seconds", ["Infinity", "1e308", "0", "NaN"])
def test_an_expiry_that_is_no_time_is_refused(
    service: TestClient, admin: dict, seconds: str
) -> None:
    body = f'{{"name": "k", "expires_in_s": {seconds}}}'
    headers = admin | {"Content-Type": "application/json"}
    answer = service.post("/v1/organization/keys", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "expires_in_s")
    assert service.get("/v1/organization/keys", headers=admin).status_code == 200


def test_a_project_cannot_be_named_like_the_id_of_another(service: TestClient, admin: dict) -> None:
    body = {"name": "proj_default"}
    answer = service.post("/v1/organization/projects", json=body, headers=admin)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "name")


def test_a_revoked_key_ends_at_once(service: TestClient, admin: dict) -> None:
    key_id, headers = make_key(service, admin)
    assert service.get("/v1/organization/me", headers=headers).json()["key"]["id"] == key_id
    revoked = service.delete(f"/v1/organization/keys/{key_id}", headers=admin)
    assert revoked.json()["revoked_at"] is not None
    assert code_of(service.get(JOBS, headers=headers), 401) == "invalid_api_key"


def test_python_rewards_need_the_scope_code(tmp_path: Path, first_keys: list[str]) -> None:
    settings = Settings(home=tmp_path, job_command=SCRIPTED_JOB, reward_python=True)
    with TestClient(create_app(settings, on_first_key=first_keys.append)) as client:
        admin = {"Authorization": f"Bearer {first_keys[0]}"}
        _, plain = make_key(client, admin, scopes=["read", "submit"])
        _, coder = make_key(client, admin, scopes=["read", "submit", "code"])
        code = (
            "def reward(prompts, completions, **columns):\n    return [1.0 for _ in completions]\n"
        )
        job = job_spec(tmp_path / "data", reward={"type": "python", "source": code})
        assert code_of(client.post(JOBS, json=job, headers=plain), 403) == "insufficient_scope"
        sent = client.post(JOBS, json=job, headers=coder)
        assert sent.status_code in (200, 201), sent.text


def test_writes_are_written_down_refused_ones_too_and_reads_are_not(
    service: TestClient, admin: dict, tmp_path: Path
) -> None:
    key_id, reader = make_key(service, admin, scopes=["read"])
    service.get(JOBS, headers=reader)
    service.post(f"{JOBS}/ftjob-0/cancel", headers=reader)
    service.post(f"{JOBS}/ftjob-0/cancel")
    log = service.get("/v1/organization/audit_logs", headers=admin).json()["data"]
    seen = [(entry["action"], entry["status"], entry["key_id"]) for entry in log]
    assert seen[0] == (f"POST {JOBS}/ftjob-0/cancel", 401, None)
    assert seen[1] == (f"POST {JOBS}/ftjob-0/cancel", 403, key_id)
    assert seen[2][0] == "POST /v1/organization/keys"
    assert all(entry["request_id"] for entry in log)


def test_too_many_requests_are_told_when_to_come_back(
    tmp_path: Path, first_keys: list[str]
) -> None:
    settings = Settings(
        home=tmp_path, job_command=SCRIPTED_JOB, requests_per_minute=60, request_burst=3
    )
    with TestClient(create_app(settings, on_first_key=first_keys.append)) as client:
        headers = {"Authorization": f"Bearer {first_keys[0]}"}
        answers = [client.get(JOBS, headers=headers) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert code_of(answers[-1], 429) == "rate_limit_exceeded"
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 2
        assert client.get("/healthz").status_code == 200


def test_keys_are_made_listed_and_revoked_from_the_command_line(tmp_path: Path) -> None:
    def essa(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "alignment_api.cli.main", "keys", *words]
        environment = os.environ | {"ESSA_HOME": str(tmp_path)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    made = essa("add", "laptop", "--scopes", "read", "--project", "team", "--days", "2")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    listed = essa("list").stdout
    assert "laptop" in listed
    assert "team" in listed
    assert secret not in listed
    wrong = essa("add", "x", "--scopes", "read,rule")
    assert wrong.returncode == 2
    assert "read, submit, code, admin" in wrong.stderr
    with TestClient(create_app(Settings(home=tmp_path, job_command=SCRIPTED_JOB))) as client:
        headers = {"Authorization": f"Bearer {secret}"}
        me = client.get("/v1/organization/me", headers=headers).json()
        assert me["project"]["name"] == "team"
        assert essa("revoke", me["key"]["id"]).returncode == 0
        of_kind(FastAPI, client.app).state.access.forget()
        assert client.get("/v1/organization/me", headers=headers).status_code == 401


def test_keys_cannot_be_turned_off_where_others_can_connect() -> None:
    with pytest.raises(Exception, match="ESSA_AUTH"):
        Settings.from_environment({"ESSA_AUTH": "off", "ESSA_HOST": "0.0.0.0"})
