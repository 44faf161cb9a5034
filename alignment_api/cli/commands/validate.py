"""`essa validate`."""

from __future__ import annotations

import argparse
import os

from alignment_api.jobs.checks import check_job
from alignment_api.settings import Settings
from essa.spec.reading.file import load_job_file


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each problem: field, value, fix."""
    settings = Settings.from_environment(os.environ, home=arguments.home)
    spec = load_job_file(arguments.job_file, arguments.overrides)
    check_job(spec, settings)
    print(f"{arguments.job_file} is a valid job")
    return 0
