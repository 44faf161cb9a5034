"""`essa submit`."""

from __future__ import annotations

import argparse

from alignment_api.cli.client import ApiClient
from alignment_api.cli.watching import watch_job
from essa.spec.reading.file import load_job_file


def run(arguments: argparse.Namespace) -> int:
    """Send the job; print its id, or show it to its end."""
    spec = load_job_file(arguments.job_file, arguments.overrides)
    given = {"suffix": arguments.suffix, "priority": arguments.priority}
    extras = {name: value for name, value in given.items() if value is not None}
    with ApiClient(arguments.server, arguments.key) as client:
        job = client.submit(spec, **extras)
        if arguments.watch:
            return watch_job(client, job["id"])
    print(job["id"])
    return 0
