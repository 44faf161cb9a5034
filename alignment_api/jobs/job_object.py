"""Rows of the store as jobs of the API. Reads the events of a whole page at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine import RowMapping

from alignment_api.jobs.answers import EssaDetails, FineTuningJob, JobFailure, JobProgress
from alignment_api.jobs.events import EventRepository, JobEvent
from alignment_api.openai.identifiers import aligned_model
from alignment_api.store.job_status import JobStatus
from essa.events import finite

SPARKLINE_POINTS = 60

_KINDS = ("stage", "generation", "validation")


class JobObjects:
    """Shows jobs.

    Args:
        events: of the same store.
    """

    def __init__(self, events: EventRepository) -> None:
        self._events = events

    def of(self, rows: Sequence[RowMapping]) -> list[FineTuningJob]:
        """Jobs in the order of their rows."""
        ids = [row["id"] for row in rows]
        if not ids:
            return []
        newest = self._events.newest(ids, _KINDS)
        fitness = self._events.scores(ids, "generation")
        validation = self._events.scores(ids, "validation")
        return [
            _job(
                row,
                {kind: newest[row["id"], kind] for kind in _KINDS if (row["id"], kind) in newest},
                thinned(fitness[row["id"]]),
                max(validation[row["id"]], default=None),
            )
            for row in rows
        ]


def thinned(values: Sequence[float], most: int = SPARKLINE_POINTS) -> list[float]:
    """Evenly spread values, the first and the last among them; all where there are few."""
    if len(values) <= most:
        return list(values)
    step = (len(values) - 1) / (most - 1)
    return [values[round(place * step)] for place in range(most)]


def _job(
    row: RowMapping,
    newest: dict[str, JobEvent],
    fitness: list[float],
    best_validation: float | None,
) -> FineTuningJob:
    spec = json.loads(row["spec"])
    kept = json.loads(row["request"])
    result = json.loads(row["result"]) if row["result"] else None
    has_model = row["status"] == JobStatus.SUCCEEDED
    data = spec["data"]
    return FineTuningJob(
        id=row["id"],
        created_at=int(row["created_at"]),
        finished_at=_seconds(row["finished_at"]),
        status=row["status"],
        model=spec["model"]["path"],
        fine_tuned_model=aligned_model(row) if has_model else None,
        organization_id=row["project_id"],
        training_file=_file(data["train"]) or "",
        validation_file=_file(data.get("validation")),
        integrations=spec.get("integrations", []),
        trained_tokens=result["tokens"] if result else None,
        seed=spec["seed"],
        error=_failure(row),
        estimated_finish=_estimated_finish(row, newest.get("generation")),
        method=kept.get("method") or {"type": spec["method"]["type"]},
        metadata=kept.get("metadata"),
        user_provided_suffix=kept.get("suffix"),
        essa=EssaDetails(
            **{name: row[name] for name in ("name", "priority", "slots", "starts", "waits_for")},
            started_at=_seconds(row["started_at"]),
            cancel_requested=row["cancel_requested_at"] is not None,
            pause_requested=row["pause_requested_at"] is not None,
            progress=_progress(spec, newest, best_validation),
            fitness=fitness,
            spec=spec,
            result=result,
        ),
    )


def _progress(
    spec: dict[str, Any], newest: dict[str, JobEvent], best_validation: float | None
) -> JobProgress:
    stage, generation, validation = (newest[kind].data if kind in newest else {} for kind in _KINDS)
    return JobProgress(
        **{name: stage.get(name) for name in ("stage", "message", "done", "total")},
        **{name: generation.get(name) for name in ("generation", "best", "mean", "eta_s")},
        generations=spec["budget"]["generations"],
        validation=validation.get("score"),
        best_validation=best_validation,
    )


def _estimated_finish(row: RowMapping, generation: JobEvent | None) -> int | None:
    if row["status"] != JobStatus.RUNNING or generation is None:
        return None
    eta_s = finite(generation.data.get("eta_s"))
    return None if eta_s is None else int(generation.created_at + eta_s)


def _failure(row: RowMapping) -> JobFailure | None:
    if row["error_code"] is None:
        return None
    return JobFailure(
        code=row["error_code"], message=row["error_message"], param=row["error_param"]
    )


def _file(dataset: dict[str, Any] | None) -> str | None:
    return (dataset.get("file_id") or dataset.get("path")) if dataset else None


def _seconds(moment: float | None) -> int | None:
    return None if moment is None else int(moment)
