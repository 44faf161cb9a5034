"""Names that clients see, and what they stand for."""

from __future__ import annotations

import re

from essa.errors import SpecError

JOB_PREFIX = "ftjob-"

_PACKAGE = "package:"
_EVENT = re.compile(r"ftevent-([0-9a-z]+)-([0-9]{1,9})")
_CHECKPOINT = re.compile(r"ftckpt-([0-9a-z]+)-([0-9]{1,9})")


def tail(job_id: str) -> str:
    """What is left of a job's id without its prefix."""
    return job_id.removeprefix(JOB_PREFIX)


def event_id(job_id: str, seq: int) -> str:
    """Id of an event."""
    return f"ftevent-{tail(job_id)}-{seq}"


def event_number(text: str, job_id: str) -> int:
    """Number of the event with this id.

    Raises:
        SpecError: it is no event of this job.
    """
    return _number(_EVENT, text, job_id, "an event")


def checkpoint_id(job_id: str, generation: int) -> str:
    """Id of a checkpoint."""
    return f"ftckpt-{tail(job_id)}-{generation}"


def checkpoint_generation(text: str, job_id: str) -> int:
    """Generation of the checkpoint with this id.

    Raises:
        SpecError: it is no checkpoint of this job.
    """
    return _number(_CHECKPOINT, text, job_id, "a checkpoint")


def aligned_model(job_id: str, base: str, project_id: str, suffix: str | None) -> str:
    """Name of the model that a job makes: `ft:BASE:PROJECT:SUFFIX:TAIL`.

    Args:
        base: `model.path` of the job.
        suffix: what the request asked for.
    """
    name = base.removeprefix(_PACKAGE).rstrip("/").rpartition("/")[2] or "model"
    parts = (name, project_id, suffix or "", tail(job_id))
    return ":".join(("ft", *(part.replace(":", "-") for part in parts)))


def checkpoint_model(aligned: str, generation: int) -> str:
    """Name of the model at a generation of the job whose model is `aligned`."""
    return f"{aligned}:ckpt-step-{generation}"


def job_of_model(name: str) -> str | None:
    """Id of the job that makes the model of this name; None where it is no such name."""
    parts = name.split(":")
    return JOB_PREFIX + parts[4] if len(parts) >= 5 and parts[0] == "ft" else None


def _number(pattern: re.Pattern[str], text: str, job_id: str, what: str) -> int:
    found = pattern.fullmatch(text)
    if found is None or found[1] != tail(job_id):
        raise SpecError(
            f"after is {text!r}; it must be the id of {what} of job {job_id}", field="after"
        )
    return int(found[2])
