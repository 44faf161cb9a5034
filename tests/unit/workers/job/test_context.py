"""How often a running job says how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.narrowing import of_kind

pytest.importorskip("ray")

from essa.errors import JobCancelledError
from essa.events import StageEvent
from essa.ports import RunControl, RunSite
from essa.testing import RecordingSink
from workers.job import context as job_context
from workers.job.context import PROGRESS_EVERY_S, JobRun


class Control(RunControl):
    is_over = False

    def is_cancelled(self) -> bool:
        return self.is_over


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The seconds that a job sees, to be set."""
    now_s = [1000.0]
    monkeypatch.setattr(job_context.time, "monotonic", lambda: now_s[0])
    return now_s


@pytest.fixture
def run() -> JobRun:
    no_spec: Any = None
    return JobRun(no_spec, RunSite(Path(), Path(), RecordingSink(), Control(), Path), 0.0)


def counts(run: JobRun) -> list[tuple[str, int | None, int | None]]:
    return [
        (event.stage, event.done, event.total)
        for event in of_kind(RecordingSink, run.sink).of(StageEvent)
    ]


def test_the_first_and_the_last_count_are_shown_and_others_now_and_then(run, clock) -> None:
    say = run.say("warm_start")
    for step in range(1, 11):
        say("steps", step, 10, 9.0)
        clock[0] += PROGRESS_EVERY_S / 2
    assert counts(run) == [("warm_start", step, 10) for step in (1, 3, 5, 7, 9, 10)]
    assert of_kind(RecordingSink, run.sink).of(StageEvent)[0].eta_s == 9.0


def test_another_count_and_what_is_not_counted_are_shown_at_once(run, clock) -> None:
    run.say("start_engines")("starting", 0, 2)
    run.say("gate")("checking", 0, 6)
    run.say("gate")("loading")
    run.say("gate")("again", 0, 5)
    assert counts(run) == [
        ("start_engines", 0, 2), ("gate", 0, 6), ("gate", None, None), ("gate", 0, 5),
    ]  # fmt: skip


def test_tokens_show_that_rollouts_move(run, clock) -> None:
    for done, tokens in ((0, 0), (0, 1500), (4, 2000), (8, 2100)):
        clock[0] += PROGRESS_EVERY_S
        run.progress("validation", done, 8, tokens)
    # The end is told by what comes of it.
    assert [event.message for event in of_kind(RecordingSink, run.sink).of(StageEvent)] == [
        "validation", "validation, 1,500 tokens", "validation, 2,000 tokens",
    ]  # fmt: skip


def test_a_cancelled_job_ends_where_it_says_something(run) -> None:
    run.site.control.is_over = True
    with pytest.raises(JobCancelledError):
        run.say("warm_start")("steps", 1, 10)
