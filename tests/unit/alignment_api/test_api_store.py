"""The store keeps its promises between threads and processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from alignment_api.errors import StoreError
from alignment_api.jobs.events import EventRepository, StoreControl, StoreSink
from alignment_api.jobs.repository import JobRepository
from alignment_api.jobs.schemas import JobStatus
from alignment_api.store import STORE_VERSION, Store
from essa.errors import JobConflictError, JobNotFoundError
from essa.events import StageEvent, ValidationEvent, WarningEvent
from essa.spec import AlignmentJobSpec

SPEC = AlignmentJobSpec.model_validate(
    {
        "model": {"path": "org/model"},
        "data": {"train": {"path": "/data/train.jsonl"}},
        "reward": {"type": "sentiment"},
    }
)
EVENTS_PER_PROCESS = 60

WRITER = """
import sys
from pathlib import Path
from alignment_api.jobs.events import EventRepository, StoreSink
from alignment_api.store import Store
from essa.events import StageEvent
sink = StoreSink(EventRepository(Store(Path(sys.argv[1]))), sys.argv[2])
for number in range(int(sys.argv[4])):
    sink.emit(StageEvent(stage=sys.argv[3], done=number))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.sqlite3")


@pytest.fixture
def jobs(store: Store) -> JobRepository:
    return JobRepository(store)


def test_two_processes_write_events_of_one_job_without_gaps_or_losses(
    store: Store, jobs: JobRepository
) -> None:
    job_id = jobs.add(SPEC)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, store.path, job_id, name, str(EVENTS_PER_PROCESS)]
        )
        for name in ("first", "second")
    ]
    events = EventRepository(store)
    while any(writer.poll() is None for writer in writers):
        seen = events.after(job_id, 0, 1000).events
        assert [event.id for event in seen] == list(range(1, len(seen) + 1))
    assert [writer.returncode for writer in writers] == [0, 0]
    seen = events.after(job_id, 0, 1000).events
    assert len(seen) == 2 * EVENTS_PER_PROCESS
    for name in ("first", "second"):
        counts = [event.data["done"] for event in seen if event.data["stage"] == name]
        assert counts == list(range(EVENTS_PER_PROCESS))


def test_many_openers_of_a_new_store_agree_on_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "store.sqlite3"
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            Store(path).close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store = Store(path)
    assert store.read("PRAGMA journal_mode")[0][0] == "wal"
    assert store.read("PRAGMA user_version")[0][0] == STORE_VERSION


def test_a_store_of_another_version_is_refused(store: Store) -> None:
    with store.change() as connection:
        connection.execute(f"PRAGMA user_version = {STORE_VERSION + 1}")
    store.close()
    with pytest.raises(StoreError, match=rf"version {STORE_VERSION + 1}.*ESSA_HOME"):
        Store(store.path)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    path.write_text("not a database, only some text that is long enough to be looked at")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(path)


def test_a_failed_change_leaves_nothing_behind(store: Store, jobs: JobRepository) -> None:
    job_id = jobs.add(SPEC)

    def break_off() -> None:
        with store.change() as connection:
            connection.execute("DELETE FROM jobs")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert jobs.get(job_id)["status"] == JobStatus.QUEUED


def test_events_need_a_job(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        EventRepository(store).append("job-0", StageEvent(stage="search"))


def test_each_job_is_claimed_once_and_in_order(jobs: JobRepository) -> None:
    ids = [jobs.add(SPEC) for _ in range(6)]
    claimed: list[str] = []

    def claim() -> None:
        while (job_id := jobs.claim_next()) is not None:
            claimed.append(job_id)

    threads = [threading.Thread(target=claim) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(ids)
    assert len(set(claimed)) == len(ids)


def test_an_interrupted_job_goes_before_those_that_wait(store: Store, jobs: JobRepository) -> None:
    first, _ = jobs.add(SPEC), jobs.add(SPEC)
    assert jobs.claim_next() == first
    assert jobs.requeue_running("the service stopped") == [first]
    assert jobs.get(first)["status"] == JobStatus.QUEUED
    assert EventRepository(store).after(first, 0, 10).events[-1].data["code"] == "job_resumed"
    assert jobs.claim_next() == first
    assert jobs.get(first)["starts"] == 2


def test_an_interrupted_job_that_was_being_cancelled_does_not_resume(jobs: JobRepository) -> None:
    job_id = jobs.add(SPEC)
    jobs.claim_next()
    jobs.request_cancel(job_id)
    assert jobs.requeue_running("the service stopped") == []
    assert jobs.get(job_id)["status"] == JobStatus.CANCELLED


def test_the_first_final_state_of_a_job_stays(store: Store, jobs: JobRepository) -> None:
    job_id = jobs.add(SPEC)
    jobs.claim_next()
    assert jobs.cancel(job_id) is True
    assert jobs.fail(job_id, "late", "too late") is False
    assert jobs.get(job_id)["status"] == JobStatus.CANCELLED
    assert EventRepository(store).after(job_id, 0, 10).events == []


def test_a_failed_job_cannot_be_cancelled(jobs: JobRepository) -> None:
    job_id = jobs.add(SPEC)
    jobs.claim_next()
    jobs.fail(job_id, "broken", "it broke")
    with pytest.raises(JobConflictError, match="already failed"):
        jobs.request_cancel(job_id)


def test_the_control_sees_a_request_of_another_connection(
    store: Store, jobs: JobRepository
) -> None:
    job_id = jobs.add(SPEC)
    jobs.claim_next()
    control = StoreControl(jobs, job_id)
    assert control.is_cancelled() is False
    JobRepository(Store(store.path)).request_cancel(job_id)
    assert control.is_cancelled() is True


def test_a_stored_specification_of_a_newer_version_can_be_read(
    store: Store, jobs: JobRepository
) -> None:
    job_id = jobs.add(SPEC)
    with store.change() as connection:
        connection.execute("UPDATE jobs SET spec = json_set(spec, '$.later', 1, '$.model.new', 2)")
    assert jobs.spec(job_id) == SPEC


def test_progress_takes_the_newest_news_and_leaves_missing_scores_out(
    store: Store, jobs: JobRepository
) -> None:
    job_id = jobs.add(SPEC)
    events = EventRepository(store)
    sink = StoreSink(events, job_id)
    assert events.progress(job_id).stage is None
    sink.emit(StageEvent(stage="warm_start"))
    sink.emit(StageEvent(stage="search", done=1, total=9))
    for generation, score in ((1, 0.2), (2, 0.6), (3, 0.4), (4, float("nan"))):
        sink.emit(ValidationEvent(generation=generation, score=score, ci95=(0, 1), is_best=False))
    progress = events.progress(job_id)
    assert (progress.stage, progress.done, progress.total) == ("search", 1, 9)
    assert (progress.validation, progress.best_validation) == (None, 0.6)


def test_an_unknown_job_is_not_found(store: Store, jobs: JobRepository) -> None:
    for call in (
        lambda: jobs.get("job-0"),
        lambda: jobs.request_cancel("job-0"),
        lambda: EventRepository(store).after("job-0", 0, 10),
        lambda: EventRepository(store).generations("job-0"),
    ):
        with pytest.raises(JobNotFoundError, match="job-0"):
            call()


def test_emitting_is_quick(store: Store, jobs: JobRepository) -> None:
    import time

    sink = StoreSink(EventRepository(store), jobs.add(SPEC))
    started = time.perf_counter()
    for number in range(100):
        sink.emit(WarningEvent(code="test", message=str(number)))
    assert (time.perf_counter() - started) / 100 < 0.05
