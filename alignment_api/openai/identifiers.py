"""Identifiers that clients see, and the objects behind them."""

from __future__ import annotations

import re

from essa.errors import SpecError

JOB_PREFIX = "ftjob-"

_PACKAGE = "package:"
_EVENT = re.compile(r"ftevent-([0-9a-z]+)-([0-9]{1,9})")
_CHECKPOINT = re.compile(r"ftckpt-([0-9a-z]+)-([0-9]{1,9})")


def tail(job_id: str) -> str:
    """Return a job's id without its prefix."""
    return job_id.removeprefix(JOB_PREFIX)


def event_id(job_id: str, seq: int) -> str:
    """Return the id of an event."""
    return f"ftevent-{tail(job_id)}-{seq}"


def event_number(text: str, job_id: str) -> int:
    """Return the number of the event with this id.

    Raises:
        SpecError: the id is not that of an event of this job.
    """
    return _number(_EVENT, text, job_id, "an event")


def checkpoint_id(job_id: str, generation: int) -> str:
    """Return the id of a checkpoint."""
    return f"ftckpt-{tail(job_id)}-{generation}"


def checkpoint_generation(text: str, job_id: str) -> int:
    """Return the generation of the checkpoint with this id.

    Raises:
        SpecError: the id is not that of a checkpoint of this job.
    """
    return _number(_CHECKPOINT, text, job_id, "a checkpoint")


def aligned_model(job_id: str, base: str, project_id: str, suffix: str | None) -> str:
    """Return the name of the model that a job makes: `ft:BASE:PROJECT:SUFFIX:TAIL`.

    Args:
        base: `model.path` of the job.
        suffix: `suffix` of the request.
    """
    name = base.removeprefix(_PACKAGE).rstrip("/").rpartition("/")[2] or "model"
    parts = (name, project_id, suffix or "", tail(job_id))
    return ":".join(("ft", *(part.replace(":", "-") for part in parts)))


def checkpoint_model(aligned: str, generation: int) -> str:
    """Return the name of the job's model at a generation; `aligned` is the job's model."""
    return f"{aligned}:ckpt-step-{generation}"


def job_of_model(name: str) -> str | None:
    """Return the id of the job that makes the named model; None for any other name."""
    parts = name.split(":")
    return JOB_PREFIX + parts[4] if len(parts) >= 5 and parts[0] == "ft" else None


def _number(pattern: re.Pattern[str], text: str, job_id: str, what: str) -> int:
    found = pattern.fullmatch(text)
    if found is None or found[1] != tail(job_id):
        raise SpecError(
            f"after is {text!r}; it must be the id of {what} of job {job_id}", field="after"
        )
    return int(found[2])
