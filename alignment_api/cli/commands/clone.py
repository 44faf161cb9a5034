"""`essa clone`."""

from __future__ import annotations

import argparse

from alignment_api.cli.client import ApiClient
from essa.spec.file import read_overrides


def run(arguments: argparse.Namespace) -> int:
    """Queue a job like another one; print its id."""
    changes = read_overrides(arguments.overrides)
    with ApiClient(arguments.server, arguments.key) as client:
        print(client.clone(arguments.job_id, changes, arguments.priority)["id"])
    return 0
