"""The store keeps its promises between threads and processes, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from starlette.requests import Request

from alignment_api.auth.audit import AuditRepository, _record
from alignment_api.auth.keys import KeyRepository
from alignment_api.errors import DuplicateError, StoreError, UnstorableError
from alignment_api.jobs.events import EventRepository, StoreControl, StoreSink
from alignment_api.jobs.insertion import NewJob
from alignment_api.jobs.repository import JobRepository
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.tables import created_requests, events, jobs, metadata
from essa.errors import JobConflictError, JobNotFoundError
from essa.events import ErrorEvent, RoundEvent, StageEvent, ValidationEvent, WarningEvent
from essa.spec import AlignmentJobSpec
from essa.testing import FakeClock, bare_result
from tests.narrowing import of_kind

SPEC = AlignmentJobSpec.model_validate(
    {
        "model": {"path": "org/model"},
        "data": {"train": {"path": "/data/train.jsonl"}},
        "reward": {"type": "sentiment"},
    }
)
RESULT = bare_result()
EVENTS_PER_PROCESS = 60

WRITER = """
import sys
from alignment_api.jobs.events import EventRepository, StoreSink
from alignment_api.store import Store
from essa.events import StageEvent
store = Store(sys.argv[1], is_migrating=False)
sink = StoreSink(EventRepository(store), sys.argv[2])
for number in range(int(sys.argv[4])):
    sink.emit(StageEvent(stage=sys.argv[3], done=number))
"""


class OpenStore(Store):
    """A store that remembers its address."""

    def __init__(self, url: str, **how: bool) -> None:
        super().__init__(url, **how)
        self.url = url


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Address of an empty database."""
    if kind == "postgresql":
        return request.getfixturevalue("postgres").new_database()
    return f"sqlite:///{tmp_path / 'store.sqlite3'}"


@pytest.fixture(scope="module")
def migrated(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], str]:
    """Addresses of databases with tables and nothing in them, to copy, by kind."""
    made: dict[str, str] = {}

    def address(kind: str) -> str:
        if kind not in made:
            made[kind] = f"sqlite:///{tmp_path_factory.mktemp('migrated') / 'store.sqlite3'}"
            if kind == "postgresql":
                made[kind] = request.getfixturevalue("postgres").new_database()
            Store(made[kind]).close()
        return made[kind]

    return address


@pytest.fixture
def store(
    kind: str,
    tmp_path: Path,
    migrated: Callable[[str], str],
    request: pytest.FixtureRequest,
) -> Iterator[Store]:
    source = migrated(kind)
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").new_database(source)
    else:
        path = tmp_path / "copy.sqlite3"
        shutil.copyfile(source.removeprefix("sqlite:///"), path)
        url = f"sqlite:///{path}"
    opened = OpenStore(url, is_migrating=False)
    yield opened
    opened.close()


class Jobs(JobRepository):
    """Jobs of the default project."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.project = KeyRepository(store).ensure_project()

    def queue(self, **given: Any) -> str:
        return self.add(NewJob(SPEC, self.project, **given))

    def claim(self, free_slots: int = 100) -> str | None:
        job = self.claim_next(free_slots)
        return job.id if job else None


@pytest.fixture
def repository(store: Store) -> Jobs:
    return Jobs(store)


def change_in_threads(work: Callable[[], None], count: int) -> list[BaseException]:
    """Do the same in several threads at once; what went wrong."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


# -- opening ------------------------------------------------------------------------------


def test_migrations_give_exactly_the_tables_of_the_code(store: OpenStore) -> None:
    with store.change() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    assert differences == []


def test_many_openers_of_a_new_store_agree_on_it(url: str) -> None:
    assert change_in_threads(lambda: Store(url).close(), 8) == []
    store = Store(url, is_migrating=False)
    assert len(store.read(sa.text("SELECT version_num FROM alembic_version"))) == 1
    store.close()


def test_sqlite_writes_ahead_so_that_readers_go_on(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'deep' / 'store.sqlite3'}")
    assert store.read(sa.text("PRAGMA journal_mode"))[0]["journal_mode"] == "wal"


@pytest.mark.parametrize("is_migrating", [True, False])
def test_a_store_of_another_version_is_refused(store: OpenStore, is_migrating: bool) -> None:
    with store.change() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"version 9999.*ESSA_HOME"):
        Store(store.url, is_migrating=is_migrating)


def test_tables_of_another_program_are_refused(url: str) -> None:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE jobs (id INTEGER)"))
    engine.dispose()
    with pytest.raises(StoreError, match="tables without a version"):
        Store(url)


def test_a_job_process_does_not_create_a_store(url: str) -> None:
    with pytest.raises(StoreError, match="version None"):
        Store(url, is_migrating=False)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    path.write_text("not a database, only some text that is long enough to be looked at")
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(f"sqlite:///{path}")


@pytest.mark.parametrize(
    "url", ["mysql://host/db", "sqlite://", "nonsense", "postgresql://u:secret@127.0.0.1:1/db"]
)
def test_a_store_that_cannot_be_reached_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StoreError, match="ESSA_DATABASE_URL") as caught:
        Store(url)
    assert "secret" not in str(caught.value)


# -- changes ------------------------------------------------------------------------------


def test_a_failed_change_leaves_nothing_behind(store: Store, repository: Jobs) -> None:
    job_id = repository.queue()

    def break_off() -> None:
        with store.change() as connection:
            connection.execute(sa.delete(jobs))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert repository.get(job_id).status == JobStatus.QUEUED


def test_a_second_row_with_the_same_key_is_a_duplicate(store: Store, repository: Jobs) -> None:
    row = {"project_id": repository.project, "key": "k", "sha256": "s", "job_id": "j"}
    with store.change() as connection:
        connection.execute(sa.insert(created_requests).values(created_at=1.0, **row))
    with pytest.raises(DuplicateError), store.change() as connection:
        connection.execute(sa.insert(created_requests).values(created_at=2.0, **row))


def test_events_need_a_job(store: Store) -> None:
    with pytest.raises((DuplicateError, JobNotFoundError)):
        EventRepository(store).append("ftjob-0", StageEvent(stage="search"))
    assert store.read(sa.select(events)) == []


def test_a_number_beyond_the_column_is_told_apart_from_a_broken_store(
    store: Store, repository: Jobs
) -> None:
    with pytest.raises(UnstorableError):
        repository.queue(priority=2**70)
    assert repository.count(JobStatus.QUEUED) == 0


# -- events -------------------------------------------------------------------------------


def test_two_processes_write_events_of_one_job_without_gaps_or_losses(
    store: OpenStore, repository: Jobs
) -> None:
    job_id = repository.queue()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, store.url, job_id, name, str(EVENTS_PER_PROCESS)]
        )
        for name in ("first", "second")
    ]
    reader = EventRepository(store)
    while any(writer.poll() is None for writer in writers):
        seen = reader.after(job_id, 0, 1000).events
        assert [event.id for event in seen] == list(range(1, len(seen) + 1))
        time.sleep(0.01)
    assert [writer.returncode for writer in writers] == [0, 0]
    seen = reader.after(job_id, 0, 1000).events
    assert len(seen) == 2 * EVENTS_PER_PROCESS
    for name in ("first", "second"):
        stages = [of_kind(StageEvent, one.event) for one in seen]
        counts = [stage.done for stage in stages if stage.stage == name]
        assert counts == list(range(EVENTS_PER_PROCESS))


def test_events_are_read_in_both_directions(store: Store, repository: Jobs) -> None:
    job_id = repository.queue()
    sink, reader = StoreSink(EventRepository(store), job_id), EventRepository(store)
    for number in range(5):
        sink.emit(StageEvent(stage="search", done=number))
    newest = reader.before(job_id, None, 2)
    assert ([event.id for event in newest.events], newest.has_more) == ([5, 4], True)
    rest = reader.before(job_id, 4, 10)
    assert ([event.id for event in rest.events], rest.has_more) == ([3, 2, 1], False)
    assert [event.id for event in reader.after(job_id, 3, 10).events] == [4, 5]


def test_the_newest_news_of_several_jobs_come_at_once(store: Store, repository: Jobs) -> None:
    first, second = repository.queue(), repository.queue()
    reader = EventRepository(store)
    for job_id, score in ((first, 0.2), (first, 0.6), (second, float("nan"))):
        sink = StoreSink(reader, job_id)
        sink.emit(StageEvent(stage="search", message=str(score)))
        sink.emit(ValidationEvent(generation=1, score=score, ci95=(0, 1), is_best=False))
    newest = reader.newest([first, second], StageEvent)
    assert {job_id: one.event.message for job_id, one in newest.items()} == {
        first: "0.6",
        second: "nan",
    }
    assert set(reader.newest([first, second], ValidationEvent)) == {first, second}
    assert reader.newest([first, second], RoundEvent) == {}
    assert reader.scores([first, second], ValidationEvent) == {first: [0.2, 0.6], second: []}


def test_emitting_is_quick(store: Store, repository: Jobs) -> None:
    sink = StoreSink(EventRepository(store), repository.queue())
    started = time.perf_counter()
    for number in range(100):
        sink.emit(WarningEvent(code="test", message=str(number)))
    assert (time.perf_counter() - started) / 100 < 0.05


# -- states of a job ----------------------------------------------------------------------


def test_each_job_is_claimed_once(repository: Jobs) -> None:
    ids = [repository.queue() for _ in range(6)]
    claimed: list[str] = []

    def claim() -> None:
        while (job_id := repository.claim()) is not None:
            claimed.append(job_id)

    assert change_in_threads(claim, 3) == []
    # A claim that met another one's lock may have found nothing; the queue looks again.
    claim()
    assert sorted(claimed) == sorted(ids)


def test_priority_comes_first_and_age_second(repository: Jobs) -> None:
    low, early, late = (repository.queue(priority=priority) for priority in (-1, 5, 5))
    assert [repository.claim() for _ in range(3)] == [early, late, low]


def test_a_large_job_is_not_overtaken_by_small_ones(repository: Jobs) -> None:
    large = repository.queue(slots=4)
    small = repository.queue(slots=1)
    assert repository.claim(free_slots=3) is None
    assert repository.claim(free_slots=4) == large
    assert repository.claim(free_slots=1) == small


def test_a_job_larger_than_the_machine_has_become_takes_all_of_it(repository: Jobs) -> None:
    job_id = repository.queue(slots=8)
    assert repository.claim_next(1, all_slots=2) is None
    job = repository.claim_next(2, all_slots=2)
    assert job is not None
    assert job.id == job_id


def test_a_job_that_waits_for_another_is_passed_over_until_that_one_succeeded(
    repository: Jobs,
) -> None:
    first = repository.queue()
    waiting = repository.queue(waits_for=first, priority=50)
    other = repository.queue()
    assert [repository.claim(), repository.claim(), repository.claim()] == [first, other, None]
    repository.succeed(first, RESULT)
    assert repository.claim() == waiting


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_a_job_fails_when_the_one_it_waits_for_does_not_succeed(
    store: Store, repository: Jobs, ending: str
) -> None:
    first = repository.queue()
    waiting, paused = (repository.queue(waits_for=first) for _ in range(2))
    cancelled = repository.queue(waits_for=first)
    last = repository.queue(waits_for=waiting)
    repository.request_pause(paused)
    repository.request_cancel(cancelled)
    assert repository.claim() == first
    if ending == "failed":
        repository.fail(first, "engine_start", "no engine")
    else:
        repository.request_cancel(first)
        repository.stop(first)
    for job_id in (waiting, paused):
        job = repository.get(job_id)
        assert (job.status, job.error_code) == ("failed", "awaited_job_ended")
        assert f"job {first}, which makes the warm start" in str(job.error_message)
        assert f"{ending}; create the comparison again" in str(job.error_message)
        (event,) = EventRepository(store).of_kind(job_id, ErrorEvent)
        assert event.event.message == job.error_message
    assert repository.get(cancelled).status == "cancelled"
    # Whatever waits for one that waits fails with it.
    assert repository.get(last).status == "failed"
    assert repository.claim() is None


def test_an_interrupted_job_goes_before_those_that_wait(store: Store, repository: Jobs) -> None:
    first, _ = repository.queue(), repository.queue()
    assert repository.claim() == first
    assert repository.requeue_running("the service stopped") == [first]
    assert repository.get(first).status == JobStatus.QUEUED
    last = EventRepository(store).after(first, 0, 10).events[-1].event
    assert of_kind(WarningEvent, last).code == "job_resumed"
    assert repository.claim() == first
    assert repository.get(first).starts == 2


def test_jobs_with_a_process_are_not_queued_again(repository: Jobs) -> None:
    alive, lost = repository.queue(), repository.queue()
    assert {repository.claim(), repository.claim()} == {alive, lost}
    assert repository.requeue_running("lost", alive=[alive]) == [lost]
    assert repository.get(alive).status == JobStatus.RUNNING


@pytest.mark.parametrize(
    ("ask", "status"), [("request_cancel", "cancelled"), ("request_pause", "paused")]
)
def test_an_interrupted_job_that_was_to_stop_does_not_resume(
    repository: Jobs, ask: str, status: str
) -> None:
    job_id = repository.queue()
    repository.claim()
    getattr(repository, ask)(job_id)
    assert repository.requeue_running("the service stopped") == []
    assert repository.get(job_id).status == status


def test_a_paused_job_waits_until_it_is_resumed(repository: Jobs) -> None:
    job_id = repository.queue()
    repository.claim()
    repository.request_pause(job_id)
    assert repository.get(job_id).status == JobStatus.RUNNING
    assert repository.stop(job_id) is True
    assert repository.get(job_id).status == JobStatus.PAUSED
    assert repository.claim() is None
    repository.resume(job_id)
    assert repository.claim() == job_id


def test_a_job_resumed_while_it_stops_is_queued_again(repository: Jobs) -> None:
    job_id = repository.queue()
    repository.claim()
    repository.request_pause(job_id)
    repository.resume(job_id)
    assert repository.stop(job_id) is True
    assert repository.get(job_id).status == JobStatus.QUEUED


def test_cancelling_wins_over_pausing(repository: Jobs) -> None:
    job_id = repository.queue()
    repository.claim()
    repository.request_pause(job_id)
    repository.request_cancel(job_id)
    repository.stop(job_id)
    assert repository.get(job_id).status == JobStatus.CANCELLED


@pytest.mark.parametrize("paused", [True, False])
def test_a_job_that_waits_is_cancelled_at_once(repository: Jobs, paused: bool) -> None:
    job_id = repository.queue()
    if paused:
        repository.request_pause(job_id)
    repository.request_cancel(job_id)
    assert repository.get(job_id).status == JobStatus.CANCELLED


def test_the_first_final_state_of_a_job_stays(store: Store, repository: Jobs) -> None:
    job_id = repository.queue()
    repository.claim()
    repository.request_cancel(job_id)
    assert repository.stop(job_id) is True
    assert repository.fail(job_id, "late", "too late") is False
    assert repository.succeed(job_id, RESULT) is False
    assert repository.get(job_id).status == JobStatus.CANCELLED
    assert EventRepository(store).after(job_id, 0, 10).events == []


@pytest.mark.parametrize("ask", ["request_cancel", "request_pause", "resume"])
def test_a_failed_job_cannot_be_steered(repository: Jobs, ask: str) -> None:
    job_id = repository.queue()
    repository.claim()
    repository.fail(job_id, "broken", "it broke")
    with pytest.raises(JobConflictError, match="already failed"):
        getattr(repository, ask)(job_id)


@pytest.mark.parametrize("ask", ["request_cancel", "request_pause"])
def test_the_control_sees_a_request_of_another_connection(
    store: OpenStore, repository: Jobs, ask: str
) -> None:
    job_id = repository.queue()
    repository.claim()
    clock = FakeClock()
    control = StoreControl(repository, job_id, clock)
    assert control.is_cancelled() is False
    other = Store(store.url)
    getattr(JobRepository(other), ask)(job_id)
    other.close()
    # Asked after every work item, it reads the store only so often.
    assert control.is_cancelled() is False
    clock.advance(1.0)
    assert control.is_cancelled() is True


# -- reading ------------------------------------------------------------------------------


def test_jobs_are_found_by_state_name_and_metadata(repository: Jobs) -> None:
    red = repository.queue(request={"metadata": {"colour": "red", 'odd."key': "1"}})
    blue = repository.queue(request={"metadata": {"colour": "blue"}})
    bare = repository.queue()
    repository.claim()

    def found(**given: Any) -> list[str]:
        return [job.id for job in repository.page(10, None, repository.project, **given)]

    assert found() == [bare, blue, red]
    assert found(metadata={"colour": "red"}) == [red]
    assert found(metadata={"colour": "red", "size": "1"}) == []
    assert found(statuses=["running"]) == [red]
    assert found(statuses=["queued"]) == [bare, blue]
    assert found(name=blue[-6:].upper()) == [blue]
    assert found(name="ALIGN") == [bare, blue, red]
    assert found(name="%") == []


def test_a_project_sees_its_own_jobs_only(store: Store, repository: Jobs) -> None:
    other = KeyRepository(store).add_project("other")["id"]
    mine, theirs = repository.queue(), repository.add(NewJob(SPEC, other))
    assert [job.id for job in repository.page(10, None, other)] == [theirs]
    with pytest.raises(JobNotFoundError, match=mine):
        repository.get(mine, other)
    with pytest.raises(JobNotFoundError, match=mine):
        repository.page(10, mine, other)


def test_a_stored_specification_of_a_newer_version_can_be_read(
    store: Store, repository: Jobs
) -> None:
    job_id = repository.queue()
    newer = repository.get(job_id).written_spec.replace('"model":{', '"later":1,"model":{"new":2,')
    with store.change() as connection:
        connection.execute(sa.update(jobs).values(spec=newer))
    assert repository.spec(job_id) == SPEC


def test_an_unknown_job_is_not_found(store: Store, repository: Jobs) -> None:
    for call in (
        lambda: repository.get("ftjob-0"),
        lambda: repository.request_cancel("ftjob-0"),
        lambda: repository.request_pause("ftjob-0"),
        lambda: repository.resume("ftjob-0"),
        lambda: EventRepository(store).after("ftjob-0", 0, 10),
        lambda: EventRepository(store).before("ftjob-0", None, 10),
    ):
        with pytest.raises(JobNotFoundError, match="ftjob-0"):
            call()


def test_a_job_fails_whatever_its_log_ends_with(repository: Jobs) -> None:
    job_id = repository.queue()
    repository.claim()
    assert repository.fail(job_id, "job_process_ended", "NUL \0 and half a pair \ud800")
    assert repository.get(job_id).error_message == "NUL \ufffd and half a pair \ufffd"


def test_a_request_is_audited_whatever_it_is_called(store: Store) -> None:
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/files/a\0b",
        "headers": [],
        "client": ("9" * 500, 1),
        "state": {"request_id": "req_1"},
        "app": SimpleNamespace(state=SimpleNamespace(audit=AuditRepository(store))),
    }
    _record(Request(scope), 404)
    (entry,) = AuditRepository(store).page(1, None)
    assert entry["action"] == "POST /v1/files/a\ufffdb"
    assert entry["address"] == "9" * 64
