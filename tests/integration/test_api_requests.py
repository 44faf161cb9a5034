"""Requests that are wrong get OpenAI's error envelope, and say what to change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from alignment_api.app import create_app
from alignment_api.settings import Settings
from tests.integration.api_harness import SCRIPTED_JOB, Answer, job_spec
from tests.narrowing import of_kind


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    settings = Settings(
        home=home,
        auth="off",
        job_command=SCRIPTED_JOB,
        max_upload_bytes=4000,
        max_body_bytes=3000,
        poll_s=0.05,
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as started:
        yield started


def error_of(answer: Answer, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    return error


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"search": {"type": "sep_cma_es", "population": 1}}, "search.population", "3 or more"),
        ({"search": {"type": "sep_cma_es", "sigma_init": -1}}, "search.sigma_init", "above 0"),
        ({"search": {"type": "newton"}}, "search", "'sep_cma_es'"),
        ({"search": {"type": "sep_cma_es", "populaton": 4}}, "search.populaton", "`population`"),
        ({"reward": {}}, "reward", "add 'type'"),
        ({"data": {"train": {}}}, "data.train", "exactly one of `path` and `file_id`"),
        ({"rollout": {"samples_per_prompt": 4}}, None, "raise the temperature"),
        ({"model": {}}, "model.path", "is missing"),
    ],
)
def test_a_wrong_setting_is_named(
    client: TestClient, home: Path, changes: dict[str, Any], param: str | None, words: str
) -> None:
    error = error_of(client.post("/v1/fine_tuning/jobs", json=job_spec(home, **changes)), 400)
    assert error["param"] == param
    assert error["code"] == "invalid_spec"
    assert words in error["message"]


def test_a_body_that_is_not_json_is_refused(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    error = error_of(client.post("/v1/fine_tuning/jobs", content=b"{", headers=headers), 400)
    assert "not valid JSON" in error["message"]
    assert error["param"] is None


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "unknown_route"),
        ("DELETE", "/v1/fine_tuning/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/fine_tuning/jobs/job-0", 404, "job_not_found"),
        ("GET", "/v1/fine_tuning/jobs/job-0/generations", 404, "job_not_found"),
        ("POST", "/v1/fine_tuning/jobs/job-0/cancel", 404, "job_not_found"),
        ("GET", "/v1/fine_tuning/jobs?after=job-0", 404, "job_not_found"),
        ("GET", "/v1/files/file-0", 404, "file_not_found"),
    ],
)
def test_what_is_not_there_is_said_to_be_missing(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    assert error_of(client.request(method, path), status)["code"] == code


def test_a_query_out_of_range_names_its_parameter(client: TestClient) -> None:
    error = error_of(client.get("/v1/fine_tuning/jobs", params={"limit": 0}), 400)
    assert error["param"] == "limit"


def test_an_unexpected_failure_shows_no_traceback(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(of_kind(FastAPI, client.app).state.jobs, "page", fail)
    error = error_of(client.get("/v1/fine_tuning/jobs"), 500)
    assert error["code"] == "internal_error"
    assert "secret" not in error["message"]


def test_a_store_that_stops_working_makes_the_service_unhealthy(client: TestClient) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    with of_kind(FastAPI, client.app).state.store.change() as connection:
        connection.exec_driver_sql("DROP TABLE events")
        connection.exec_driver_sql("DROP TABLE jobs")
    assert error_of(client.get("/healthz"), 503)["code"] == "store_error"


def test_jobs_are_listed_newest_first_in_pages(client: TestClient, home: Path) -> None:
    ids = []
    for number in range(5):
        answer = client.post("/v1/fine_tuning/jobs", json=job_spec(home, name=f"job {number}"))
        assert answer.status_code == 200
        ids.append(answer.json()["id"])
    assert ids[0].startswith("ftjob-")
    page = client.get("/v1/fine_tuning/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in page["data"]] == [ids[4], ids[3]]
    assert page["has_more"] is True
    rest = client.get("/v1/fine_tuning/jobs", params={"limit": 3, "after": ids[3]}).json()
    assert [job["id"] for job in rest["data"]] == [ids[2], ids[1], ids[0]]
    assert rest["has_more"] is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no rows"),
        ('{"prompt": "a"}\n\n[1]\n{"prompt"', "line 3 holds list"),
        ('{"question": "a"}\n', "line 1 has no column 'prompt'"),
    ],
)
def test_a_job_with_unusable_data_is_refused(
    client: TestClient, home: Path, text: str | None, words: str
) -> None:
    data = home / "train.jsonl"
    if text is not None:
        data.write_text(text)
    spec = job_spec(home, data={"train": {"path": str(data)}})
    error = error_of(client.post("/v1/fine_tuning/jobs", json=spec), 400)
    assert error["param"] == "data.train.path"
    assert words in error["message"]


def test_a_row_without_the_rewards_column_is_refused(client: TestClient, home: Path) -> None:
    spec = job_spec(home, reward={"type": "exact_match", "reference": "solution"})
    error = error_of(client.post("/v1/fine_tuning/jobs", json=spec), 400)
    assert "line 1 does not fit the reward" in error["message"]
    assert "solution" in error["message"]


def test_an_uploaded_file_can_be_used_by_a_job(client: TestClient, home: Path) -> None:
    content = b"".join(b'{"prompt": "p%d"}\n' % number for number in range(16))
    answer = client.post("/v1/files", files={"file": ("mine.jsonl", content)})
    assert answer.status_code == 200
    file = answer.json()
    assert (file["filename"], file["rows"], file["bytes"]) == ("mine.jsonl", 16, len(content))
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert (home / "files" / f"{file['id']}.jsonl").read_bytes() == content
    assert client.get(f"/v1/files/{file['id']}").json() == file
    assert client.get("/v1/files").json()["data"] == [file]
    spec = job_spec(home, data={"train": {"file_id": file["id"]}})
    assert client.post("/v1/fine_tuning/jobs", json=spec).status_code == 200
    spec["data"]["train"]["file_id"] = "file-0"
    error = error_of(client.post("/v1/fine_tuning/jobs", json=spec), 400)
    assert (error["param"], "file-0" in error["message"]) == ("data.train.file_id", True)


def test_an_upload_with_bad_lines_names_them_and_is_not_kept(
    client: TestClient, home: Path
) -> None:
    content = b'{"prompt": "one"}\nnonsense\n\xff\n"text"\n'
    error = error_of(client.post("/v1/files", files={"file": ("mine.jsonl", content)}), 400)
    assert error["code"] == "invalid_data"
    for words in ("line 2 is not JSON", "line 3 is not UTF-8", "line 4 holds str"):
        assert words in error["message"]
    assert client.get("/v1/files").json()["data"] == []
    assert list((home / "files").iterdir()) == []


def test_a_body_over_the_limit_is_refused(client: TestClient, home: Path) -> None:
    content = json.dumps({"prompt": "x" * 5000}).encode()
    upload = client.post("/v1/files", files={"file": ("mine.jsonl", content)})
    assert "ESSA_MAX_UPLOAD_BYTES = 4000" in error_of(upload, 413)["message"]
    large = client.post("/v1/fine_tuning/jobs", json=job_spec(home, name="x" * 3500))
    assert "ESSA_MAX_BODY_BYTES = 3000" in error_of(large, 413)["message"]


def test_the_page_names_no_other_server(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "://" not in page.text


def test_declared_errors_are_in_the_openapi_document(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"400", "404", "409"} <= paths["/v1/fine_tuning/jobs/{job_id}/cancel"]["post"][
        "responses"
    ].keys()
