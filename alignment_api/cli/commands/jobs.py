"""`essa list` and `essa cancel`."""

from __future__ import annotations

import argparse
from datetime import datetime

from rich.console import Console
from rich.table import Table

from alignment_api.cli.client import ApiClient
from alignment_api.cli.text import number

_PIPE_WIDTH = 200


def run(arguments: argparse.Namespace) -> int:
    """Run the command named in the arguments."""
    with ApiClient(arguments.server) as client:
        if arguments.command == "cancel":
            job = client.cancel(arguments.job_id)
            state = "is stopping" if job["status"] == "running" else "is cancelled"
            print(f"{job['id']} {state}")
            return 0
        console = Console()
        # A pipe has no width; whoever reads it wants whole columns.
        width = None if console.is_terminal else _PIPE_WIDTH
        console.print(_table(client.jobs(arguments.limit)), width=width, soft_wrap=False)
    return 0


def _table(jobs: list[dict[str, object]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("id", "name", "status", "created", "gen", "best", "validation"):
        is_text = name in ("id", "name", "status", "created")
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name != "name")
    for job in jobs:
        progress = job["progress"]
        created = datetime.fromtimestamp(job["created_at"]).strftime("%m-%d %H:%M")
        table.add_row(
            job["id"],
            job["name"],
            job["status"],
            created,
            str(progress["generation"] or "-"),
            number(progress["best"]),
            number(progress["validation"]),
        )
    return table
