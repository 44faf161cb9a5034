"""API keys and the projects they belong to.

A key is shown once, when it is made; the store keeps only its SHA-256. Keys are 256 random bits, so
a slow hash would add no protection.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import RowMapping

from alignment_api.errors import DuplicateError, KeyNotFoundError, ProjectNotFoundError
from alignment_api.store import Store
from alignment_api.store.tables import api_keys, projects
from essa.errors import SpecError

PREFIX = "essa-"
DEFAULT_PROJECT = "default"
_ID_PREFIX = "proj_"


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    """See the jobs, files and models of the key's project."""
    SUBMIT = "submit"
    """Run, pause and cancel jobs, upload and delete files, query models."""
    CODE = "code"
    """Submit rewards that are Python code."""
    ADMIN = "admin"
    """Make and revoke keys and projects, read the audit log."""


class NewKey(NamedTuple):
    """A key that was just made."""

    secret: str
    """The key itself, which is stored nowhere."""
    row: RowMapping


class KeyRepository:
    """Reads, creates and revokes keys and projects."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def ensure_project(self, name: str = DEFAULT_PROJECT) -> str:
        """Return the id of the project with this name, after creating it if needed."""
        try:
            return self.project_named(name)["id"]
        except ProjectNotFoundError:
            return self.add_project(name)["id"]

    def add_project(self, name: str) -> RowMapping:
        """Make a project.

        Raises:
            DuplicateError: a project with this name exists.
            SpecError: the name looks like the id of a project.
        """
        if name.startswith(_ID_PREFIX):
            raise SpecError(
                f"the project's name is {name!r}; names that begin with {_ID_PREFIX} are ids, by "
                "which projects are found too",
                field="name",
            )
        # The default project has the same id everywhere, so that a store can be copied.
        project_id = (
            "proj_default" if name == DEFAULT_PROJECT else f"{_ID_PREFIX}{secrets.token_hex(8)}"
        )
        values = {"id": project_id, "name": name, "created_at": time.time()}
        try:
            with self._store.change() as connection:
                connection.execute(sa.insert(projects).values(**values))
        except DuplicateError as error:
            raise DuplicateError(f"there is a project {name!r} already; use it") from error
        return self.project_named(name)

    def project_named(self, name: str) -> RowMapping:
        """Return the project with this name or id."""
        query = sa.select(projects).where((projects.c.name == name) | (projects.c.id == name))
        rows = self._store.read(query)
        if not rows:
            raise ProjectNotFoundError(f"there is no project {name!r}")
        return rows[0]

    def projects(self) -> list[RowMapping]:
        """Return all projects, oldest first."""
        return list(self._store.read(sa.select(projects).order_by(projects.c.created_at)))

    def add(
        self,
        name: str,
        scopes: Collection[Scope],
        project_id: str,
        expires_at: float | None = None,
    ) -> NewKey:
        """Make a key.

        Args:
            name: a label for people.
            scopes: what the key may do.
            project_id: the project whose jobs, files and models the key may access.
            expires_at: time of expiry in Unix seconds; None if the key never expires.
        Raises:
            SpecError: `scopes` is empty.
        """
        if not scopes:
            known = ", ".join(Scope)
            raise SpecError(f"the key {name!r} has no scopes; give some of {known}", field="scopes")
        secret = PREFIX + secrets.token_urlsafe(32)
        key_id = f"key_{secrets.token_hex(8)}"
        with self._store.change() as connection:
            connection.execute(
                sa.insert(api_keys).values(
                    id=key_id,
                    project_id=project_id,
                    name=name,
                    sha256=_digest(secret),
                    hint=f"{secret[: len(PREFIX) + 4]}…{secret[-2:]}",
                    scopes=" ".join(scope for scope in Scope if scope in scopes),
                    created_at=time.time(),
                    expires_at=expires_at,
                )
            )
        return NewKey(secret, self.get(key_id))

    def get(self, key_id: str) -> RowMapping:
        """Return one key, with its project's name as `project`.

        Raises:
            KeyNotFoundError: there is no such key.
        """
        rows = self._store.read(_keys().where(api_keys.c.id == key_id))
        if not rows:
            raise KeyNotFoundError(f"there is no key {key_id}")
        return rows[0]

    def all(self) -> list[RowMapping]:
        """Return every key, newest first."""
        return list(self._store.read(_keys().order_by(api_keys.c.created_at.desc())))

    def is_empty(self) -> bool:
        """Return whether no key was ever made."""
        return not self._store.read(sa.select(api_keys.c.id).limit(1))

    def find(self, secret: str) -> RowMapping | None:
        """Return the key with this secret if it is neither revoked nor expired, else None."""
        found = self._store.read(_keys().where(api_keys.c.sha256 == _digest(secret)))
        row = found[0] if found else None
        if row is None or row["revoked_at"] is not None:
            return None
        if row["expires_at"] is not None and row["expires_at"] <= time.time():
            return None
        return row

    def revoke(self, key_id: str) -> RowMapping:
        """Revoke a key. Idempotent."""
        self.get(key_id)
        with self._store.change() as connection:
            connection.execute(
                sa.update(api_keys)
                .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=time.time())
            )
        return self.get(key_id)


def _keys() -> sa.Select[tuple[object, ...]]:
    return sa.select(api_keys, projects.c.name.label("project")).join(
        projects, projects.c.id == api_keys.c.project_id
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
