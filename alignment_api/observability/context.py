"""The request and the job that a line of the log belongs to."""

from __future__ import annotations

import logging
import re
import secrets
from contextvars import ContextVar

REQUEST_ID_HEADER = "X-Request-Id"

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
JOB_ID: ContextVar[str | None] = ContextVar("job_id", default=None)

# At most as long as the audit log's column, without characters that break a line or a query.
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def request_id_from(sent: str | None) -> str:
    """Return the id that a client sent if it is acceptable, otherwise a new one."""
    if sent is not None and _SANE.fullmatch(sent):
        return sent
    return f"req_{secrets.token_hex(12)}"


class ContextFilter(logging.Filter):
    """Adds the ids of the current request and job to every record.

    Args:
        job_id: id for all records of a process that works on a single job, in any of its threads.
    """

    def __init__(self, job_id: str | None = None) -> None:
        super().__init__()
        self._job_id = job_id

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids that the record lacks."""
        found = {"request_id": REQUEST_ID.get(), "job_id": self._job_id or JOB_ID.get()}
        for name, value in found.items():
            if value is not None and not hasattr(record, name):
                setattr(record, name, value)
        return True
