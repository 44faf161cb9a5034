"""The tables. Times are Unix seconds; JSON is stored as the text that was received.

A change here needs a migration in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

ADDRESS_CHARS = 64
"""Maximum characters stored of a client's address."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite autoincrements only INTEGER keys.
_Number = BigInteger().with_variant(Integer, "sqlite")

projects = Table(
    "projects",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False, index=True),
    Column("name", String(80), nullable=False),
    # Hash of the whole key; `hint` is what is shown of the key later.
    Column("sha256", String(64), nullable=False, unique=True),
    Column("hint", String(16), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
)

jobs = Table(
    "jobs",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("status", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    # Number of engine slots that the job needs.
    Column("slots", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("starts", Integer, nullable=False, server_default="0"),
    Column("cancel_requested_at", Float),
    Column("pause_requested_at", Float),
    Column("error_code", String(80)),
    Column("error_message", Text),
    Column("error_param", Text),
    Column("spec", Text, nullable=False),
    # Fields of OpenAI's request that the specification lacks: suffix, metadata.
    Column("request", Text, nullable=False, server_default="{}"),
    Column("result", Text),
    # Id of a job that has to succeed before this one starts.
    Column("waits_for", String(64), index=True),
    Index("ix_jobs_status_priority_number", "status", "priority", "number"),
    Index("ix_jobs_project_id_number", "project_id", "number"),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("spec", Text, nullable=False),
    # Arm, seed and job id of each run.
    Column("runs", Text, nullable=False),
    Index("ix_comparisons_project_id_number", "project_id", "number"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("type", String(32), nullable=False),
    Column("created_at", Float, nullable=False),
    # Validation score, or a generation's mean fitness, if it is a number.
    Column("score", Float),
    Column("data", Text, nullable=False),
    Index("ix_events_job_id_type_seq", "job_id", "type", "seq"),
)

files = Table(
    "files",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Index("ix_files_project_id_number", "project_id", "number"),
)

created_requests = Table(
    "created_requests",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    # Idempotency-Key of the request.
    Column("key", String(255), nullable=False),
    # Hash of method, path and body: the same key must not come with another request.
    Column("sha256", String(64), nullable=False),
    Column("job_id", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("project_id", "key"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("project_id", String(64)),
    Column("key_id", String(64)),
    Column("request_id", String(64), nullable=False),
    # HTTP method and path.
    Column("action", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("address", String(ADDRESS_CHARS)),
    Index("ix_audit_project_id_number", "project_id", "number"),
)
