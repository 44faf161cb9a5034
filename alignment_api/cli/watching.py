"""Show a job of the service until it ends."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from alignment_api.cli.client import ApiClient
from alignment_api.cli.terminal.live import LiveView, print_result
from essa.events import ErrorEvent, ResultEvent


def watch_job(client: ApiClient, job_id: str, console: Console | None = None) -> int:
    """Show a job live and print its result.

    Ctrl-C stops watching; the job keeps running.

    Returns:
        0 if the job succeeded, else 1.
    """
    console = console or Console()
    job = client.job(job_id)
    name = job["essa"]["name"]
    title = f"{name} ({job_id})"
    console.print(title, highlight=False)
    try:
        with LiveView(console, name) as view:
            for watched in client.watch(job_id, on_break=view.note):
                # The job object printed below repeats the error.
                if not isinstance(watched.event, ErrorEvent):
                    view.on_event(watched.event)
    except KeyboardInterrupt:
        console.print(f"the job goes on; watch it again with: essa watch {job_id}")
        raise
    return _print_end(client.job(job_id), console)


def _print_end(job: dict[str, Any], console: Console) -> int:
    if job["status"] == "succeeded":
        print_result(ResultEvent.model_validate(job["essa"]["result"]), console)
        return 0
    failure = job["error"]
    reason = f": {failure['message']} ({failure['code']})" if isinstance(failure, dict) else ""
    console.print(
        Text(f"job {job['id']} has {_STATES.get(str(job['status']), 'not ended')}{reason}"),
        soft_wrap=True,
    )
    return 1


_STATES = {"failed": "failed", "cancelled": "been cancelled"}
