"""`essa list`, `watch`, `clone`, `cancel`, `pause` and `resume`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from alignment_api.cli.flags import DEFAULT_SERVER, JobId, Key, Overrides, Priority, Server

if TYPE_CHECKING:
    from alignment_api.cli.client import ApiClient

_PIPE_WIDTH = 200


def show(*, limit: int = 20, server: Server = DEFAULT_SERVER, key: Key = None) -> int:
    """List jobs, newest first.

    Args:
        limit: Jobs to show.
    """
    with _service(server, key) as client:
        jobs = client.jobs(limit)
    console = Console()
    # A pipe has no width, and its reader wants whole columns.
    width = None if console.is_terminal else _PIPE_WIDTH
    console.print(_table(jobs), width=width, soft_wrap=False)
    return 0


def watch(job_id: JobId, /, *, server: Server = DEFAULT_SERVER, key: Key = None) -> int:
    """Show the progress of a job to its end."""
    from alignment_api.cli.watching import watch_job

    with _service(server, key) as client:
        return watch_job(client, job_id)


def cancel(job_id: JobId, /, *, server: Server = DEFAULT_SERVER, key: Key = None) -> int:
    """Cancel a job."""
    return _steer("cancel", job_id, server, key)


def pause(job_id: JobId, /, *, server: Server = DEFAULT_SERVER, key: Key = None) -> int:
    """Pause a job and free its engines."""
    return _steer("pause", job_id, server, key)


def resume(job_id: JobId, /, *, server: Server = DEFAULT_SERVER, key: Key = None) -> int:
    """Resume a job that is paused or found no room."""
    return _steer("resume", job_id, server, key)


def clone(
    job_id: JobId,
    /,
    *,
    overrides: Overrides = (),
    priority: Priority = None,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
) -> int:
    """Queue a copy of a job, with changes."""
    from essa.spec.reading.file import read_overrides

    with _service(server, key) as client:
        print(client.clone(job_id, read_overrides(overrides), priority)["id"])
    return 0


def _service(server: str, key: str | None) -> ApiClient:
    from alignment_api.cli.client import ApiClient

    return ApiClient(server, key)


def _steer(action: str, job_id: str, server: str, key: str | None) -> int:
    with _service(server, key) as client:
        job = client.steer(job_id, action)
    print(f"{job['id']} {_state(job)}")
    return 0


def _state(job: dict[str, Any]) -> str:
    details = job["essa"]
    if job["status"] == "running" and details["cancel_requested"]:
        return "is stopping"
    if job["status"] == "running" and details["pause_requested"]:
        return "is pausing"
    return f"is {job['status']}"


def _table(jobs: list[dict[str, Any]]) -> Table:
    from alignment_api.cli.terminal.text import number

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("id", "name", "status", "created", "gen", "best", "validation"):
        is_text = name in ("id", "name", "status", "created")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name != "name")
    for job in jobs:
        progress = job["essa"]["progress"]
        created = datetime.fromtimestamp(job["created_at"]).strftime("%m-%d %H:%M")
        table.add_row(
            job["id"],
            job["essa"]["name"],
            job["status"],
            created,
            str(progress["generation"] or "-"),
            number(progress["best"]),
            number(progress["validation"]),
        )
    return table
