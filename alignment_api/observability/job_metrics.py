"""Metrics of jobs, read from the store at each scrape, so they survive a restart."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from alignment_api.errors import StoreError
from alignment_api.observability.event_totals import EventTotals
from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.tables import jobs

logger = logging.getLogger(__name__)

_ENGINE_LOST = "engine_lost"


class SlotCounts(Protocol):
    """The queue's state: its engine slots, and whether its thread runs."""

    @property
    def slots(self) -> int: ...

    @property
    def free_slots(self) -> int: ...

    def is_alive(self) -> bool: ...


class JobMetrics(Collector):
    """Reads the store and the queue at each scrape. Blocking; thread-safe."""

    def __init__(self, store: Store, queue: SlotCounts, home: Path) -> None:
        self._store = store
        self._queue = queue
        self._home = home
        self._totals = EventTotals(store)
        self._lock = threading.Lock()

    def describe(self) -> Sequence[Metric]:
        """Return nothing, because registration must not read the store."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, without those of the store if the store fails."""
        try:
            with self._lock:
                found = [*self._job_metrics(), *self._event_metrics()]
        except StoreError:
            logger.exception("the store does not answer; its metrics are left out")
            found, is_up = [], 0
        else:
            is_up = 1
        yield from found
        yield _gauge("essa_store_up", "Whether the store can be read.", is_up)
        is_alive = self._queue.is_alive()
        yield _gauge("essa_queue_up", "Whether queued jobs are started.", int(is_alive))
        yield _gauge("essa_engine_slots", "Engines that can run at once.", self._queue.slots)
        yield _gauge(
            "essa_engine_slots_free", "Engine slots that no job holds.", self._queue.free_slots
        )
        free = shutil.disk_usage(self._home).free
        yield _gauge("essa_home_free_bytes", "Space left where ESSA_HOME lies.", free)

    def _job_metrics(self) -> Iterator[Metric]:
        query = sa.select(
            jobs.c.status,
            sa.func.count().label("count"),
            sa.func.min(jobs.c.created_at).label("oldest"),
        ).group_by(jobs.c.status)
        by_status = {row["status"]: row for row in self._store.read(query)}
        count = GaugeMetricFamily("essa_jobs", "Jobs by status.", labels=["status"])
        for status in JobStatus:
            count.add_metric([status], by_status[status]["count"] if status in by_status else 0)
        yield count
        queued = by_status.get(JobStatus.QUEUED)
        yield _gauge(
            "essa_queue_length", "Jobs that wait to be started.", queued["count"] if queued else 0
        )
        yield _gauge(
            "essa_queue_oldest_age_seconds",
            "Since the oldest waiting job was created; 0 where none waits.",
            max(0.0, time.time() - queued["oldest"]) if queued else 0,
        )
        failed = sa.select(jobs.c.error_code, sa.func.count().label("count")).where(
            jobs.c.status == JobStatus.FAILED
        )
        failures = CounterMetricFamily(
            "essa_job_failures", "Jobs that failed, by the code of their error.", labels=["code"]
        )
        for row in self._store.read(failed.group_by(jobs.c.error_code)):
            failures.add_metric([row["error_code"] or "unknown"], row["count"])
        yield failures

    def _event_metrics(self) -> Iterator[Metric]:
        totals = self._totals
        totals.update()
        yield _counter("essa_generations", "Generations of all jobs.", totals.generations)
        yield _counter(
            "essa_generated_tokens",
            "Tokens generated for candidates, in all generations.",
            totals.generated_tokens,
        )
        yield _counter("essa_missing_scores", "Completions without a score.", totals.missing_scores)
        yield _counter(
            "essa_engine_restarts",
            "Engines that were lost and started again.",
            totals.warnings[_ENGINE_LOST],
        )
        warnings = CounterMetricFamily(
            "essa_job_warnings", "Warnings of jobs, by their code.", labels=["code"]
        )
        for code, count in sorted(totals.warnings.items()):
            warnings.add_metric([code], count)
        yield warnings


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
