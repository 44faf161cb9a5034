"""Requests generated from the live OpenAPI document, thousands of them, valid and not.

A service is started with keys on and jobs that end at once. Every answer must have a status, a
content type and a body that the document declares, and none may be a server error.
"""

from __future__ import annotations

import argparse
import collections
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import hypothesis
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, strategies
from schemathesis.checks import CHECKS as KNOWN_CHECKS
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Err

from alignment_api.app import create_app
from alignment_api.auth.keys import Scope
from alignment_api.settings import Settings

JOB = ("true",)
"""A job command that ends without a result."""

load_all_checks()
CHECKS = [
    KNOWN_CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]


def main() -> int:
    """Send the requests; 1 if an answer was not as declared."""
    arguments = _arguments()
    with TemporaryDirectory() as folder:
        server, url, key, known = _serve(Path(folder))
        try:
            return _fuzz(url, key, known, arguments)
        finally:
            server.should_exit = True


def _fuzz(url: str, key: str, known: dict[str, str], arguments: argparse.Namespace) -> int:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = []
    for found in schema.get_all_operations():
        if isinstance(found, Err):
            raise SystemExit(f"api_fuzz.py: the OpenAPI document is wrong: {found.err()}")
        operations.append(found.ok())
    chosen = [one for one in operations if arguments.only in one.path]
    each = max(1, arguments.cases // len(chosen))
    statuses: dict[str, collections.Counter[int]] = {}
    failures: list[str] = []
    for operation in chosen:
        counter = statuses.setdefault(
            f"{operation.method.upper()} {operation.path}", collections.Counter()
        )
        failures += _one(operation, each, key, known, counter, arguments.seed)
    for name, counter in statuses.items():
        print(f"{sum(counter.values()):6d}  {name}  {dict(sorted(counter.items()))}")
    total = sum(sum(counter.values()) for counter in statuses.values())
    print(f"{total} cases over {len(chosen)} operations, {len(failures)} failures")
    for failure in failures:
        print(f"\n{failure}")
    return 1 if failures else 0


def _one(
    operation: Any,
    cases: int,
    key: str,
    known: dict[str, str],
    counter: collections.Counter[int],
    seed: int,
) -> list[str]:
    failures: dict[str, str] = {}
    rng = strategies.randoms(use_true_random=False)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        # Its metaclass has an iterator of its own, without types.
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    )
    @hypothesis.given(
        case=operation.as_strategy() | operation.as_strategy(generation_mode=_NEGATIVE), random=rng
    )
    def send(case: Any, random: Any) -> None:
        # Half of the time the objects exist; else nearly every answer would be 404.
        for name, value in known.items():
            if name in (case.path_parameters or {}) and random.random() < 0.5:
                case.path_parameters[name] = value
        if case.query and case.query.get("stream"):
            case.query["stream"] = False
        headers = {"Authorization": f"Bearer {key}"} if random.random() < 0.9 else {}
        response = case.call(headers=headers)
        counter[response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except (FailureGroup, AssertionError) as error:
            failures.setdefault(_kind(error), f"{operation.label}: {error}")

    send()
    return list(failures.values())


def _kind(error: BaseException) -> str:
    parts = getattr(error, "exceptions", [error])
    return " ".join(sorted(type(part).__name__ for part in parts))


_NEGATIVE = schemathesis.GenerationMode.NEGATIVE


def _serve(home: Path) -> tuple[uvicorn.Server, str, str, dict[str, str]]:
    """A service with a job and a file in it; their ids by the name of the path's parameter."""
    settings = Settings(
        home=home, port=0, job_command=JOB, requests_per_minute=10**6, request_burst=10**6
    )
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    keys = app.state.keys
    project = keys.ensure_project()
    key = keys.add("fuzz", list(Scope), project).secret
    return server, f"http://127.0.0.1:{port}", key, _objects(f"http://127.0.0.1:{port}", key)


def _objects(url: str, key: str) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
        rows = b"".join(b'{"prompt": "p%d"}\n' % number for number in range(16))
        file_id = client.post("/v1/files", files={"file": ("a.jsonl", rows)}).json()["id"]
        body = {
            "model": "org/model",
            "training_file": file_id,
            "method": {"type": "evolution", "evolution": {"reward": {"type": "sentiment"}}},
        }
        job_id = client.post("/v1/fine_tuning/jobs", json=body).json()["id"]
    return {"job_id": job_id, "file_id": file_id}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=3000, help="requests, all together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="only paths with this text in them")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
