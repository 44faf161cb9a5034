"""What a feed keeps of a job's messages, and how much it hands out at a time."""

from __future__ import annotations

import pytest

from alignment_api.events import feed as hub
from alignment_api.events.feed import JobFeed, Message, Written
from alignment_api.store.job_status import JobStatus


def found(*numbers: int, status: JobStatus = JobStatus.RUNNING) -> Written:
    return Written([Message(n, "x" * 10) for n in numbers], has_more=False, status=status)


def numbers_after(feed: JobFeed, seq: int) -> list[int] | None:
    messages = feed.after(seq)
    return None if messages is None else [message.number for message in messages]


def test_messages_are_handed_out_from_any_place_that_is_kept() -> None:
    feed = JobFeed(4)
    feed.add(found(5, 6))
    feed.add(found(7))
    assert (feed.last, numbers_after(feed, 4), numbers_after(feed, 6)) == (7, [5, 6, 7], [7])
    assert feed.after(3) is None, "event 4 came before the feed began"


def test_a_large_history_is_handed_out_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_SENT_CHARS", 25)
    feed = JobFeed(0)
    feed.add(found(1, 2, 3, 4, 5))
    assert (numbers_after(feed, 0), numbers_after(feed, 3)) == ([1, 2, 3], [4, 5])


def test_the_oldest_messages_are_dropped_once_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "_KEPT_CHARS", 45)
    feed = JobFeed(0)
    feed.add(found(1, 2, 3, 4))
    assert numbers_after(feed, 0) == [1, 2, 3, 4]
    feed.add(found(5))
    assert feed.after(0) is None
    assert feed.after(2) is None
    assert numbers_after(feed, 3) == [4, 5]


def test_a_batch_larger_than_all_that_is_kept_is_left_to_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "_KEPT_CHARS", 15)
    feed = JobFeed(0)
    feed.add(found(1, 2, 3))
    assert (feed.last, feed.after(0)) == (3, None)
    feed.add(found(4))
    assert numbers_after(feed, 3) == [4]


@pytest.mark.parametrize("is_first_look_partial", [True, False])
def test_a_feed_is_over_once_all_events_of_an_ended_job_were_found(
    is_first_look_partial: bool,
) -> None:
    feed = JobFeed(0)
    assert not feed.is_over
    feed.add(found(1, status=JobStatus.SUCCEEDED)._replace(has_more=is_first_look_partial))
    assert feed.is_over is not is_first_look_partial
