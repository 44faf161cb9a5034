"""Queue a job only once, however often its request is sent.

Two kinds of repetition are recognised: the client sends the same Idempotency-Key, or it marks a
retry with `x-stainless-retry-count` after an equal request shortly before got no answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from alignment_api.errors import DuplicateError, KeyReuseError
from alignment_api.jobs.insertion import NewJob, add_job
from alignment_api.store import Store
from alignment_api.store.tables import created_requests

MOST_KEY_CHARS = 200
_UNNAMED = "unnamed "
"""Prefix for requests without a key; it has a blank, so no client's key can look like it."""


class RequestIdentity(NamedTuple):
    """The properties by which two requests are recognised as the same."""

    sha256: str
    """SHA-256 of path and body."""
    key: str | None = None
    """Idempotency-Key of the request."""
    is_retry: bool = False
    """Whether the client says that it has sent the request before."""


class Created(NamedTuple):
    """Id of what was created, and whether this request created it."""

    object_id: str
    is_new: bool


class JobCreation:
    """Queues jobs and remembers the requests that created them; comparisons work the same way.

    Args:
        store: the store of the jobs.
        retry_window_s: maximum age in seconds of the equal request whose job answers a retry.
    """

    def __init__(self, store: Store, retry_window_s: float) -> None:
        self._store = store
        self._retry_window_s = retry_window_s

    def find(self, identity: RequestIdentity, project_id: str) -> str | None:
        """Return the id that an earlier sending of this request created; None if there was none.

        Raises:
            KeyReuseError: the key was used with a different request.
        """
        query = sa.select(created_requests).where(created_requests.c.project_id == project_id)
        if identity.key is not None:
            rows = self._store.read(query.where(created_requests.c.key == identity.key))
        elif identity.is_retry:
            oldest = time.time() - self._retry_window_s
            equal = (created_requests.c.sha256 == identity.sha256) & (
                created_requests.c.created_at >= oldest
            )
            rows = self._store.read(
                query.where(equal).order_by(created_requests.c.number.desc()).limit(1)
            )
        else:
            return None
        return _checked(rows[0], identity)["job_id"] if rows else None

    def create(self, identity: RequestIdentity, job: NewJob) -> Created:
        """Queue a job and remember its request, in one transaction.

        Raises:
            KeyReuseError: the key was used with a different request.
        """
        return self.create_by(identity, job.project_id, lambda held: add_job(held, job))

    def create_by(
        self, identity: RequestIdentity, project_id: str, add: Callable[[Connection], str]
    ) -> Created:
        """Add an object and remember the request that asked for it, in one transaction.

        Args:
            identity: the request's identity.
            project_id: project that will own the object.
            add: adds the object within the transaction and returns its id.
        Raises:
            KeyReuseError: the key was used with a different request.
        """
        earlier = self.find(identity, project_id)
        if earlier is not None:
            return Created(earlier, is_new=False)
        try:
            with self._store.change() as connection:
                object_id = add(connection)
                _remember(connection, identity, project_id, object_id)
        except DuplicateError:
            # Another sending of the same request came first.
            earlier = self.find(identity, project_id)
            if earlier is None:
                raise
            return Created(earlier, is_new=False)
        return Created(object_id, is_new=True)


def _checked(row: RowMapping, identity: RequestIdentity) -> RowMapping:
    if row["sha256"] != identity.sha256:
        raise KeyReuseError(
            f"the Idempotency-Key {identity.key!r} came before with another request, which made "
            f"{row['job_id']}; send a new key with a new request",
            field="idempotency-key",
        )
    return row


def _remember(
    connection: Connection, identity: RequestIdentity, project_id: str, job_id: str
) -> None:
    connection.execute(
        sa.insert(created_requests).values(
            project_id=project_id,
            key=_UNNAMED + job_id if identity.key is None else identity.key,
            sha256=identity.sha256,
            job_id=job_id,
            created_at=time.time(),
        )
    )
