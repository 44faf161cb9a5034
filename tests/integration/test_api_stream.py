"""Events as a list and as a live stream that can be taken up again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent

from alignment_api.cli.client import ApiClient
from alignment_api.jobs.events import EventBatch
from essa.events import GenerationEvent, ResultEvent, StageEvent
from tests.integration.api_harness import Service, running_service, wait_until
from tests.integration.api_scripted_job import ODD_TEXT
from tests.narrowing import of_kind

STREAM = {"Accept": "text/event-stream"}
TYPES = ["stage", *["generation", "validation"] * 4, "result"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("stream"), heartbeat_s=0.2) as started:
        yield started


@pytest.fixture(scope="module")
def finished(service: Service) -> str:
    job_id = service.submit()
    service.wait_for(job_id, "succeeded")
    return job_id


def read_stream(service: Service, job_id: str, **headers: str) -> list[ServerSentEvent]:
    path = f"/v1/fine_tuning/jobs/{job_id}/events"
    with service.client.stream("GET", path, headers=STREAM | headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(read_messages(answer.iter_lines()))


def read_messages(lines: Iterator[str]) -> Iterator[ServerSentEvent]:
    rest = (f"{line}\n".encode() for line in lines)
    answer = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=rest)
    return (message for message in EventSource(answer).iter_sse() if message.data)


def count_reads(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on, the place of every look that the hub takes at the store."""
    hub = service.app.state.hub
    plain, reads = hub._read, []

    def counted(job_id: str, after: int, limit: int) -> EventBatch:
        reads.append(after)
        return plain(job_id, after, limit)

    monkeypatch.setattr(hub, "_read", counted)
    return reads


def test_a_finished_job_is_replayed_and_the_stream_ends(service: Service, finished: str) -> None:
    *events, end = read_stream(service, finished)
    assert [message.event for message in events] == TYPES
    assert [message.id for message in events] == [str(n) for n in range(1, len(TYPES) + 1)]
    assert (end.event, json.loads(end.data)) == ("end", {"status": "succeeded"})


def test_the_stream_continues_after_the_last_event_seen(service: Service, finished: str) -> None:
    messages = read_stream(service, finished, **{"Last-Event-ID": "8"})
    assert [message.id for message in messages] == ["9", "10", "10"]


def test_line_separators_inside_texts_do_not_break_messages(
    service: Service, finished: str
) -> None:
    first = read_stream(service, finished)[0]
    assert json.loads(first.data)["data"]["message"] == ODD_TEXT


def test_a_malformed_last_event_id_is_refused(service: Service, finished: str) -> None:
    headers = STREAM | {"Last-Event-ID": "seven"}
    answer = service.client.get(f"/v1/fine_tuning/jobs/{finished}/events", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "last-event-id"


def test_a_viewer_from_the_future_does_not_blind_the_others(service: Service) -> None:
    job_id = service.submit(name="slow")
    service.wait_for(job_id, "running")
    path = f"/v1/fine_tuning/jobs/{job_id}/events"
    ahead = STREAM | {"Last-Event-ID": "1000000"}
    with service.client.stream("GET", path, headers=ahead) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if line.startswith(":"))
        service.allow(job_id, 1, 2, 3, 4)
        service.wait_for(job_id, "succeeded")
        # Whoever comes second shares the feed that the first one began.
        assert [message.event for message in read_stream(service, job_id)] == [*TYPES, "end"]
        assert [message.event for message in read_messages(lines)][-2:] == ["result", "end"]


def test_a_stream_of_an_unknown_job_is_not_found(service: Service) -> None:
    answer = service.client.get("/v1/fine_tuning/jobs/job-0/events", headers=STREAM)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job_not_found")


def test_events_come_in_pages_newest_first(service: Service, finished: str) -> None:
    path = f"/v1/fine_tuning/jobs/{finished}/events"
    page = service.client.get(path, params={"limit": 4}).json()
    assert [event["data"]["seq"] for event in page["data"]] == [10, 9, 8, 7]
    assert page["has_more"] is True
    rest = service.client.get(path, params={"after": page["last_id"]}).json()
    assert [event["data"]["seq"] for event in rest["data"]] == [6, 5, 4, 3, 2, 1]
    assert rest["has_more"] is False


def test_events_come_in_pages_oldest_first(service: Service, finished: str) -> None:
    path = f"/v1/fine_tuning/jobs/{finished}/events"
    page = service.client.get(path, params={"limit": 4, "order": "asc"}).json()
    assert [event["data"]["seq"] for event in page["data"]] == [1, 2, 3, 4]
    query = {"order": "asc", "after": page["last_id"]}
    rest = service.client.get(path, params=query).json()
    assert [event["data"]["seq"] for event in rest["data"]] == list(range(5, len(TYPES) + 1))


def test_events_have_a_level_a_message_and_a_kind(service: Service, finished: str) -> None:
    path = f"/v1/fine_tuning/jobs/{finished}/events"
    first, second, *_ = service.client.get(path, params={"order": "asc"}).json()["data"]
    assert (first["object"], first["level"]) == ("fine_tuning.job.event", "info")
    assert (first["type"], first["message"]) == ("message", f"search: {ODD_TEXT}")
    assert (second["type"], second["message"]) == (
        "metrics",
        "generation 1: best 0.100, mean 0.050",
    )
    assert first["id"] == f"ftevent-{finished.removeprefix('ftjob-')}-1"


def test_an_event_of_another_job_is_no_place_to_go_on(service: Service, finished: str) -> None:
    path = f"/v1/fine_tuning/jobs/{finished}/events"
    answer = service.client.get(path, params={"after": "ftevent-0-1"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "after")


def test_every_validated_generation_is_a_checkpoint(service: Service, finished: str) -> None:
    path = f"/v1/fine_tuning/jobs/{finished}/checkpoints"
    page = service.client.get(path, params={"limit": 3}).json()
    assert [one["step_number"] for one in page["data"]] == [4, 3, 2]
    assert page["has_more"] is True
    newest = page["data"][0]
    assert newest["metrics"]["full_valid_mean_reward"] == pytest.approx(0.4)
    assert newest["metrics"]["train_mean_reward"] == pytest.approx(0.2)
    assert newest["fine_tuned_model_checkpoint"].endswith(":ckpt-step-4")
    rest = service.client.get(path, params={"after": page["last_id"]}).json()
    assert [one["step_number"] for one in rest["data"]] == [1]


def test_events_arrive_while_the_job_runs_and_silence_is_filled(service: Service) -> None:
    job_id = service.submit(name="slow")
    path = f"/v1/fine_tuning/jobs/{job_id}/events"
    with service.client.stream("GET", path, headers=STREAM) as answer:
        lines = answer.iter_lines()
        heartbeat = next(line for line in lines if line.startswith(":"))
        assert heartbeat == ": still here"
        service.wait_for(job_id, "running")
        service.allow(job_id, 1)
        messages = read_messages(lines)
        seen = next(message for message in messages if message.event == "generation")
        assert service.job(job_id)["status"] == "running"
        assert json.loads(seen.data)["data"]["generation"] == 1
        service.allow(job_id, 2, 3, 4)
        assert [message.event for message in messages][-2:] == ["result", "end"]


def test_all_who_watch_a_job_share_one_reader_of_the_store(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = service.app.state.hub

    def is_watched_by(count: int) -> bool:
        feed = hub._feeds.get(job_id)
        return feed is not None and feed.watchers == count

    reads = count_reads(service, monkeypatch)
    job_id = service.submit(name="slow")
    watchers = 30
    seen: list[list[str]] = []
    began = time.monotonic()

    def watch() -> None:
        messages = read_stream(service, job_id)
        seen.append([message.id for message in messages])

    threads = [threading.Thread(target=watch) for _ in range(watchers)]
    for thread in threads:
        thread.start()
    wait_until(lambda: is_watched_by(watchers), "all to watch")
    service.wait_for(job_id, "running")
    service.allow(job_id, 1, 2, 3, 4)
    for thread in threads:
        thread.join()
    looks = (time.monotonic() - began) / service.settings.poll_s
    # `end` has no id of its own, so that of the last event stands.
    numbers = [*range(1, len(TYPES) + 1), len(TYPES)]
    assert seen == [[*map(str, numbers)]] * watchers
    assert len(reads) <= looks + 2


def test_a_viewer_who_comes_late_is_sent_what_the_feed_has_kept(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = service.submit(name="slow")
    path = f"/v1/fine_tuning/jobs/{job_id}/events"
    with service.client.stream("GET", path, headers=STREAM) as answer:
        first = read_messages(answer.iter_lines())
        service.allow(job_id, 1, 2, 3)
        next(message for message in first if message.id == "7")
        reads = count_reads(service, monkeypatch)
        with service.client.stream("GET", path, headers=STREAM) as later:
            messages = read_messages(later.iter_lines())
            assert [next(messages).id for _ in range(7)] == [*map(str, range(1, 8))]
        assert set(reads) <= {7}, "the store was only asked for news"
        service.allow(job_id, 4)
        assert [message.event for message in first][-2:] == ["result", "end"]


def test_a_stream_can_be_asked_for_by_query(service: Service, finished: str) -> None:
    path = f"/v1/fine_tuning/jobs/{finished}/events"
    answer = service.client.get(path, params={"stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    # The end has no id: nobody is to come back for what follows it.
    assert answer.text.endswith('\n\nevent: end\ndata: {"status": "succeeded"}\n\n')


def test_an_open_stream_does_not_hold_up_other_requests(service: Service) -> None:
    job_id = service.submit(name="slow")
    path = f"/v1/fine_tuning/jobs/{job_id}/events"
    with service.client.stream("GET", path, headers=STREAM):
        started = time.monotonic()
        for _ in range(20):
            assert service.client.get("/healthz").status_code == 200
        assert time.monotonic() - started < 10
    service.client.post(f"/v1/fine_tuning/jobs/{job_id}/cancel")
    service.wait_for(job_id, "cancelled")


class _CutStream(httpx.SyncByteStream):
    """Breaks off in the middle of a message, as a connection that is lost does."""

    def __init__(self, inner: httpx.SyncByteStream, lines: int) -> None:
        self._inner = inner
        self._lines = lines

    def __iter__(self) -> Iterator[bytes]:
        text = b"".join(self._inner).split(b"\n")
        yield b"\n".join(text[: self._lines])
        raise httpx.ReadError("cut")


class _CuttingTransport(httpx.HTTPTransport):
    """Cuts the first stream and keeps what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        self.asked.append(request.headers.get("Last-Event-ID"))
        if len(self.asked) == 1:
            return httpx.Response(
                answer.status_code,
                headers=answer.headers,
                stream=_CutStream(of_kind(httpx.SyncByteStream, answer.stream), 16),
            )
        return answer


def test_the_client_takes_a_broken_stream_up_where_it_broke(
    service: Service, finished: str
) -> None:
    client = ApiClient(service.url)
    transport = _CuttingTransport()
    client._http = httpx.Client(base_url=service.url, transport=transport)
    breaks: list[str] = []
    watched = list(client.watch(finished, on_break=breaks.append))
    assert [entry.number for entry in watched] == list(range(1, len(TYPES) + 1))
    assert isinstance(watched[0].event, StageEvent)
    assert isinstance(watched[1].event, GenerationEvent)
    assert isinstance(watched[-1].event, ResultEvent)
    assert transport.asked == ["0", "3"]
    assert "cut" in breaks[0]
