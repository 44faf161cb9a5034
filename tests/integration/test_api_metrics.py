"""`/metrics` is what Prometheus reads, and what belongs to jobs survives a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus

from alignment_api.jobs.events import EventRepository
from alignment_api.jobs.insertion import NewJob
from alignment_api.jobs.repository import JobRepository
from alignment_api.observability.event_totals import EventTotals
from alignment_api.store import Store
from essa.events import WarningEvent
from essa.spec import AlignmentJobSpec
from essa.testing import bare_result
from tests.integration.api_harness import job_spec, running_service, wait_until
from tests.integration.api_scripted_job import GENERATIONS, generation_event
from tests.narrowing import present

JOBS = "/v1/fine_tuning/jobs"


class Scrape:
    """Values by name and labels."""

    def __init__(self, client: httpx.Client, **headers: str) -> None:
        self.answer = client.get("/metrics", headers=headers)
        assert self.answer.status_code == 200, self.answer.text
        families = list(read_prometheus(self.answer.text))
        self.kinds = {family.name: family.type for family in families}
        assert len(self.kinds) == len(families), "a metric comes twice"
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self._values.get((name, frozenset(labels.items())))

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for found, labels in self._values if found == name]


def test_jobs_are_counted_and_a_restart_changes_no_count(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_service(home) as service:
        empty = Scrape(service.client)
        assert empty.value("essa_jobs", status="succeeded") == 0
        assert empty.value("essa_generations_total") == 0
        service.wait_for(service.submit(), "succeeded")
        service.wait_for(service.submit(name="known-error"), "failed")
        service.wait_for(service.submit(name="unknown-error"), "failed")
        slow = service.submit(name="slow")
        waiting = service.submit(name="waits")
        service.wait_for(slow, "running")
        first = Scrape(service.client)
        assert first.value("essa_jobs", status="succeeded") == 1
        assert first.value("essa_jobs", status="failed") == 2
        assert first.value("essa_jobs", status="running") == 1
        assert first.value("essa_queue_length") == 1
        assert present(first.value("essa_queue_oldest_age_seconds")) > 0
        assert first.value("essa_engine_slots_free") == 0
        assert first.value("essa_generations_total") == GENERATIONS
        service.allow(slow, 1)
        wait_until(
            lambda: Scrape(service.client).value("essa_generations_total") == GENERATIONS + 1,
            "the running job's generation to be counted",
        )
        service.client.post(f"{JOBS}/{waiting}/cancel")
        last = Scrape(service.client)
    with running_service(home) as service:
        again = Scrape(service.client)
    for name in ("generations", "generated_tokens", "missing_scores"):
        whole = present(last.value(f"essa_{name}_total"))
        assert again.value(f"essa_{name}_total") == whole > 0
    assert last.value("essa_generated_tokens_total") == 100 * (GENERATIONS + 1)
    for code in ("engine_start_failed", "internal_error"):
        assert again.value("essa_job_failures_total", code=code) == 1, again.answer.text
    # The stop of the service interrupted the slow job.
    assert again.value("essa_job_warnings_total", code="job_resumed") == 1


def test_requests_are_counted_by_the_template_of_their_route(tmp_path: Path) -> None:
    with running_service(tmp_path / "home") as service:
        client = service.client
        for number in range(3):
            assert client.get(f"{JOBS}/ftjob-{number}").status_code == 404
        client.get("/static/nothing.js")
        client.get("/nowhere/1")
        client.request("PROPFIND", "/nowhere/2")
        found = Scrape(client)
    route = f"{JOBS}/{{job_id}}"
    assert found.value("essa_http_requests_total", method="GET", route=route, status="404") == 3
    count = found.value("essa_http_request_duration_seconds_count", method="GET", route=route)
    assert count == 3
    total = found.value("essa_http_request_duration_seconds_sum", method="GET", route=route)
    assert 0 < present(total) < 30
    unmatched = {"route": "unmatched", "status": "404"}
    assert found.value("essa_http_requests_total", method="GET", **unmatched) == 1
    assert found.value("essa_http_requests_total", method="OTHER", **unmatched) == 1
    # The scrape itself.
    assert found.value("essa_http_requests_in_progress") == 1
    routes = {labels["route"] for labels in found.labels("essa_http_requests_total")}
    assert not any("ftjob-" in route or "nowhere" in route for route in routes)
    assert found.kinds["essa_http_request_duration_seconds"] == "histogram"
    assert found.kinds["process_cpu_seconds"] == "counter"


def test_viewers_of_a_stream_are_counted_while_they_watch(tmp_path: Path) -> None:
    with running_service(tmp_path / "home") as service:
        job_id = service.submit(name="slow")
        url, headers = f"{JOBS}/{job_id}/events", {"Accept": "text/event-stream"}
        with (
            service.client.stream("GET", url, headers=headers) as one,
            service.client.stream("GET", url, headers=headers) as two,
        ):
            assert one.status_code == two.status_code == 200
            assert Scrape(service.client).value("essa_sse_viewers") == 2
        wait_until(
            lambda: Scrape(service.client).value("essa_sse_viewers") == 0, "the viewers to leave"
        )
        service.client.post(f"{JOBS}/{job_id}/cancel")
        route = {"method": "GET", "route": f"{JOBS}/{{job_id}}/events"}
        found = Scrape(service.client)
        assert found.value("essa_http_requests_total", status="200", **route) == 2
        # Of a stream, the time until it began.
        spent_s = found.value("essa_http_request_duration_seconds_sum", **route)
        assert present(spent_s) < 20


def test_openmetrics_is_answered_where_it_is_asked_for(tmp_path: Path) -> None:
    with running_service(tmp_path / "home") as service:
        plain = service.client.get("/metrics")
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        open_metrics = service.client.get("/metrics", headers=accept)
    assert plain.headers["content-type"].startswith(CONTENT_TYPE_LATEST.partition(";")[0])
    assert open_metrics.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in read_openmetrics(open_metrics.text)}
    assert {"essa_jobs", "essa_generations", "essa_http_requests", "essa_build"} <= names


def test_a_store_that_does_not_work_leaves_the_other_metrics(tmp_path: Path) -> None:
    with running_service(tmp_path / "home") as service:
        assert Scrape(service.client).value("essa_store_up") == 1
        with service.app.state.store.change() as connection:
            connection.exec_driver_sql("ALTER TABLE jobs RENAME TO elsewhere")
        found = Scrape(service.client)
        with service.app.state.store.change() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO jobs")
    assert found.value("essa_store_up") == 0
    assert found.value("essa_queue_up") == 1
    assert found.value("essa_jobs", status="queued") is None


def test_metrics_can_be_off_or_ask_for_a_key(tmp_path: Path) -> None:
    with running_service(tmp_path / "off", metrics="off") as service:
        assert service.client.get("/metrics").status_code == 404
    with running_service(tmp_path / "key", metrics="key", auth="on") as service:
        refused = service.client.get("/metrics")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        keys = service.app.state.keys
        key = keys.add("prometheus", ["read"], keys.ensure_project()).secret
        found = Scrape(service.client, Authorization=f"Bearer {key}")
    refusals = {"method": "GET", "route": "/metrics", "status": "401"}
    assert found.value("essa_http_requests_total", **refusals) == 1


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path / 'store.sqlite3'}"
    if request.param == "postgresql":
        new_database: Callable[[], str] = request.getfixturevalue("postgres").new_database
        url = new_database()
    opened = Store(url)
    yield opened
    opened.close()


def test_no_event_is_counted_twice_and_none_is_missed(store: Store, tmp_path: Path) -> None:
    from alignment_api.auth.keys import KeyRepository

    jobs, events = JobRepository(store), EventRepository(store)
    project = KeyRepository(store).ensure_project()
    spec = AlignmentJobSpec.model_validate(job_spec(tmp_path))
    ids = [jobs.add(NewJob(spec, project)) for _ in range(230)]
    totals = EventTotals(store)
    for job_id in ids:
        events.append(job_id, generation_event(1))
    for _ in ids[:200]:
        jobs.claim_next(10, 10)
    for job_id in ids[:200]:
        jobs.fail(job_id, "internal_error", "x")
    totals.update()
    assert (totals.generations, totals.generated_tokens) == (230, 23_000)
    # Live jobs go on, out of order; those that have ended are not looked at again.
    for job_id in (ids[229], ids[201]):
        events.append(job_id, generation_event(2))
        events.append(job_id, WarningEvent(code="engine_lost", message="again \u2028 \\u0000"))
        events.append(job_id, WarningEvent(code="data", message=""))
    for _ in range(2):
        totals.update()
        assert (totals.generations, totals.missing_scores) == (232, 232)
        assert totals.warnings == {"engine_lost": 2, "data": 2}
    result = bare_result()
    assert present(jobs.claim_next(10, 10)).id == ids[200]
    events.append(ids[200], generation_event(2))
    jobs.succeed(ids[200], result)
    totals.update()
    totals.update()
    fresh = EventTotals(store)
    fresh.update()
    assert (fresh.generations, fresh.warnings) == (totals.generations, totals.warnings)
    assert totals.generations == 233
