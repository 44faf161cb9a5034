"""Requests and answers of the endpoints for keys, projects and the audit log."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alignment_api.auth.keys import DEFAULT_PROJECT, Scope

_Name = Field(min_length=1, max_length=80)
# Finite on purpose: an infinite expiry time could not be shown, nor any list with that key in it.
_LONGEST_S = 100 * 365 * 86_400


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ProjectRequest(_Model):
    """A project to make."""

    name: str = _Name


class Project(_Model):
    """A project, whose jobs, files and models are separate from those of other projects."""

    id: str
    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: int
    """Time of creation in Unix seconds, the unit of all times here."""


class ProjectList(_Model):
    """All projects, oldest first."""

    object: Literal["list"] = "list"
    data: list[Project]


class KeyRequest(_Model):
    """A key to make."""

    name: str = _Name
    """A label for people."""
    scopes: list[Scope] = Field(default=[Scope.READ, Scope.SUBMIT], min_length=1)
    project: str = DEFAULT_PROJECT
    """Name or id of the key's project."""
    expires_in_s: float | None = Field(default=None, gt=0, le=_LONGEST_S)
    """Seconds until the key expires, at most a hundred years; null if it never expires."""


class ApiKey(_Model):
    """A key, without its secret."""

    id: str
    object: Literal["organization.api_key"] = "organization.api_key"
    name: str
    project: Project
    scopes: list[Scope]
    hint: str
    """First and last letters of the key."""
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class NewApiKey(ApiKey):
    """A key that was just made."""

    value: str
    """The key itself, shown only this once."""


class ApiKeyList(_Model):
    """All keys, newest first."""

    object: Literal["list"] = "list"
    data: list[ApiKey]


class AuditEntry(_Model):
    """One request that wrote, or tried to."""

    id: int
    object: Literal["organization.audit_log"] = "organization.audit_log"
    at: float
    project_id: str | None
    key_id: str | None
    request_id: str
    action: str
    """HTTP method and path."""
    status: int
    """HTTP status of the answer."""
    address: str | None


class AuditList(_Model):
    """A page of the audit log, newest first."""

    object: Literal["list"] = "list"
    data: list[AuditEntry]
    has_more: bool


class WhoKey(_Model):
    """The caller's key."""

    id: str | None
    name: str
    scopes: list[Scope]
    hint: str | None


class WhoProject(_Model):
    """The caller's project."""

    id: str
    name: str


class Who(_Model):
    """The caller's key, its project and its scopes."""

    object: Literal["organization.me"] = "organization.me"
    key: WhoKey
    """The caller's key; its id is null if the service runs without keys."""
    project: WhoProject
