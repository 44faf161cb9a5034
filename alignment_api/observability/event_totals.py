"""Sums over the events of all jobs, kept up to date without reading an event twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel

from alignment_api.store import Store
from alignment_api.store.job_status import JobStatus
from alignment_api.store.tables import events, jobs
from essa.events import RoundEvent, WarningEvent, type_of

_AT_ONCE = 100
"""Number of jobs per query."""


@dataclass
class _Read:
    """Numbers of a job's last counted events."""

    generation: int = 0
    warning: int = 0


@dataclass
class EventTotals:
    """Totals over all jobs of a store.

    The events of an ended job are read once, those of a live job from where the last update
    stopped, by job, type and number, which an index covers.
    """

    store: Store
    generations: int = 0
    generated_tokens: int = 0
    missing_scores: int = 0
    warnings: Counter[str] = field(default_factory=Counter)
    _live: dict[str, _Read] = field(default_factory=dict)
    _ended: set[int] = field(default_factory=set)
    """Numbers of jobs above `_floor` that are completely counted."""
    _floor: int = 0
    """Job number up to which every job is completely counted."""

    def update(self) -> None:
        """Count the events since the last call.

        Raises:
            StoreError: the store failed; a later call counts nothing twice.
        """
        query = sa.select(jobs.c.number, jobs.c.id, jobs.c.status)
        query = query.where(jobs.c.number > self._floor).order_by(jobs.c.number)
        # States are read first: when a job has ended, no further event can follow.
        rows = [row for row in self.store.read(query) if row["number"] not in self._ended]
        for start in range(0, len(rows), _AT_ONCE):
            self._count([row["id"] for row in rows[start : start + _AT_ONCE]])
        for row in rows:
            if JobStatus(row["status"]).is_terminal:
                self._live.pop(row["id"], None)
                self._ended.add(row["number"])
        self._raise_floor([row["number"] for row in rows])

    def _count(self, job_ids: list[str]) -> None:
        reads = {job_id: self._live.setdefault(job_id, _Read()) for job_id in job_ids}
        for row in self.store.read(self._generations_query(reads)):
            reads[row["job_id"]].generation = row["last"]
            self.generations += row["count"]
            self.generated_tokens += row["tokens"] or 0
            self.missing_scores += row["missing"] or 0
        for row in self.store.read(self._warnings_query(reads)):
            read = reads[row["job_id"]]
            read.warning = max(read.warning, row["last"])
            self.warnings[row["code"]] += row["count"]

    def _generations_query(self, reads: dict[str, _Read]) -> sa.Select[*tuple[Any, ...]]:
        after = {job_id: read.generation for job_id, read in reads.items()}
        tokens = self._value(RoundEvent, "generated_tokens").as_integer()
        missing = self._value(RoundEvent, "missing_scores").as_integer()
        return self._summed(RoundEvent, after).add_columns(
            sa.func.sum(tokens).label("tokens"), sa.func.sum(missing).label("missing")
        )

    def _warnings_query(self, reads: dict[str, _Read]) -> sa.Select[*tuple[Any, ...]]:
        after = {job_id: read.warning for job_id, read in reads.items()}
        code = self._value(WarningEvent, "code").as_string()
        return self._summed(WarningEvent, after).add_columns(code.label("code")).group_by(code)

    def _summed(self, kind: type[BaseModel], after: dict[str, int]) -> sa.Select[*tuple[Any, ...]]:
        unread = [(events.c.job_id == job) & (events.c.seq > seq) for job, seq in after.items()]
        return (
            sa.select(
                events.c.job_id,
                sa.func.count().label("count"),
                sa.func.max(events.c.seq).label("last"),
            )
            .where(events.c.type == type_of(kind), sa.or_(*unread))
            .group_by(events.c.job_id)
        )

    def _value(self, kind: type[BaseModel], name: str) -> sa.ColumnElement:
        """Return an event field as an SQL expression, as there are too many events to read all."""
        if name not in kind.model_fields:
            raise KeyError(f"{kind.__name__} has no field {name}")
        return self.store.as_json(events.c.data)[name]

    def _raise_floor(self, numbers: list[int]) -> None:
        live = [number for number in numbers if number not in self._ended]
        highest = max(self._ended, default=self._floor)
        self._floor = max(self._floor, min(live) - 1 if live else highest)
        self._ended = {number for number in self._ended if number > self._floor}
