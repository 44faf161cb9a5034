"""`essa list`, `watch`, `clone`, `cancel`, `pause` and `resume`."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from alignment_api.cli.client import ApiClient
from alignment_api.cli.terminal.text import number
from alignment_api.cli.watching import watch_job
from essa.spec.reading.file import read_overrides

_PIPE_WIDTH = 200


def run(arguments: argparse.Namespace) -> int:
    """Run the command named in the arguments."""
    with ApiClient(arguments.server, arguments.key) as client:
        if arguments.command == "list":
            _show(client.jobs(arguments.limit))
        elif arguments.command == "watch":
            return watch_job(client, arguments.job_id)
        elif arguments.command == "clone":
            changes = read_overrides(arguments.overrides)
            print(client.clone(arguments.job_id, changes, arguments.priority)["id"])
        else:
            job = client.steer(arguments.job_id, arguments.command)
            print(f"{job['id']} {_state(job)}")
    return 0


def _show(jobs: list[dict[str, Any]]) -> None:
    console = Console()
    # A pipe has no width; whoever reads it wants whole columns.
    width = None if console.is_terminal else _PIPE_WIDTH
    console.print(_table(jobs), width=width, soft_wrap=False)


def _state(job: dict[str, Any]) -> str:
    details = job["essa"]
    if job["status"] == "running" and details["cancel_requested"]:
        return "is stopping"
    if job["status"] == "running" and details["pause_requested"]:
        return "is pausing"
    return f"is {job['status']}"


def _table(jobs: list[dict[str, Any]]) -> Table:
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
