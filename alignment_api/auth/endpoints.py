"""`/v1/organization`: keys, projects, the audit log, and the caller's identity."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.engine import RowMapping

from alignment_api.auth.access import AccessControl, Admin, Reader
from alignment_api.auth.audit import AuditRepository
from alignment_api.auth.keys import KeyRepository, Scope
from alignment_api.auth.schemas import (
    ApiKey,
    ApiKeyList,
    AuditEntry,
    AuditList,
    KeyRequest,
    NewApiKey,
    Project,
    ProjectList,
    ProjectRequest,
    Who,
    WhoKey,
    WhoProject,
)
from alignment_api.errors import responses

router = APIRouter(
    prefix="/v1/organization", tags=["organization"], responses=responses(400, 401, 403, 429, 503)
)


def _keys(request: Request) -> KeyRepository:
    return request.app.state.keys


def _audit(request: Request) -> AuditRepository:
    return request.app.state.audit


def _access(request: Request) -> AccessControl:
    return request.app.state.access


Keys = Annotated[KeyRepository, Depends(_keys)]


@router.get("/me")
def get_me(caller: Reader) -> Who:
    """The caller's key, its project and its scopes."""
    scopes = sorted(caller.scopes)
    return Who(
        key=WhoKey(id=caller.key_id, name=caller.name, scopes=scopes, hint=caller.hint),
        project=WhoProject(id=caller.project_id, name=caller.project),
    )


@router.post("/projects", status_code=201, responses=responses(409))
def create_project(body: ProjectRequest, keys: Keys, caller: Admin) -> Project:
    """Make a project."""
    return _project(keys.add_project(body.name))


@router.get("/projects")
def list_projects(keys: Keys, caller: Admin) -> ProjectList:
    """All projects, oldest first."""
    return ProjectList(data=[_project(row) for row in keys.projects()])


@router.post("/keys", status_code=201, responses=responses(404))
def create_key(body: KeyRequest, keys: Keys, caller: Admin) -> NewApiKey:
    """Make a key. Its value is in this answer and nowhere else."""
    project = keys.project_named(body.project)
    expires_at = None if body.expires_in_s is None else time.time() + body.expires_in_s
    made = keys.add(body.name, body.scopes, project["id"], expires_at)
    return NewApiKey(value=made.secret, **_key(made.row, project).model_dump())


@router.get("/keys")
def list_keys(keys: Keys, caller: Admin) -> ApiKeyList:
    """All keys, newest first, revoked ones too."""
    projects = {row["id"]: row for row in keys.projects()}
    return ApiKeyList(data=[_key(row, projects[row["project_id"]]) for row in keys.all()])


@router.delete("/keys/{key_id}", responses=responses(404))
def revoke_key(
    key_id: str, keys: Keys, access: Annotated[AccessControl, Depends(_access)], caller: Admin
) -> ApiKey:
    """Revoke a key. Can be repeated."""
    row = keys.revoke(key_id)
    access.forget()
    return _key(row, keys.project_named(row["project_id"]))


@router.get("/audit_logs")
def list_audit(
    audit: Annotated[AuditRepository, Depends(_audit)],
    caller: Admin,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
) -> AuditList:
    """Writing requests, newest first. `after` is the id of the last entry seen."""
    rows = audit.page(limit + 1, after)
    entries = [
        AuditEntry(id=row["number"], **{name: row[name] for name in row if name != "number"})
        for row in rows[:limit]
    ]
    return AuditList(data=entries, has_more=len(rows) > limit)


def _project(row: RowMapping) -> Project:
    return Project(id=row["id"], name=row["name"], created_at=int(row["created_at"]))


def _key(row: RowMapping, project: RowMapping) -> ApiKey:
    return ApiKey(
        id=row["id"],
        name=row["name"],
        project=_project(project),
        scopes=[Scope(scope) for scope in row["scopes"].split()],
        hint=row["hint"],
        created_at=int(row["created_at"]),
        expires_at=_seconds(row["expires_at"]),
        revoked_at=_seconds(row["revoked_at"]),
    )


def _seconds(stored: float | None) -> int | None:
    return None if stored is None else int(stored)
