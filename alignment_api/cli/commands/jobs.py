"""`essa list`, `essa cancel`, `essa pause` and `essa resume`."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from alignment_api.cli.client import ApiClient
from alignment_api.cli.text import number

_PIPE_WIDTH = 200


def run(arguments: argparse.Namespace) -> int:
    """Run the command named in the arguments."""
    with ApiClient(arguments.server, arguments.key) as client:
        if arguments.command != "list":
            job = client.steer(arguments.job_id, arguments.command)
            print(f"{job['id']} {_state(job)}")
            return 0
        console = Console()
        # A pipe has no width; whoever reads it wants whole columns.
        width = None if console.is_terminal else _PIPE_WIDTH
        console.print(_table(client.jobs(arguments.limit)), width=width, soft_wrap=False)
    return 0


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
