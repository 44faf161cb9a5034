"""`essa watch`."""

from __future__ import annotations

import argparse

from alignment_api.cli.client import ApiClient
from alignment_api.cli.watching import watch_job


def run(arguments: argparse.Namespace) -> int:
    """Show the job to its end."""
    with ApiClient(arguments.server, arguments.key) as client:
        return watch_job(client, arguments.job_id)
