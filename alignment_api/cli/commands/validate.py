"""`essa validate`."""

from __future__ import annotations

import argparse
import os

from alignment_api.cli.offline import uploaded_files
from alignment_api.jobs.checks import find_problems
from alignment_api.settings import Settings
from essa.spec.file import load_job_file, problem_error


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each problem: field, value, fix."""
    settings = Settings.from_environment(os.environ, home=arguments.home)
    spec = load_job_file(arguments.job_file, arguments.overrides)
    problems = find_problems(
        spec, uploaded_files(settings), settings.reward_policy, settings.cache_dir
    )
    if problems:
        raise problem_error(problems)
    print(f"{arguments.job_file} is a valid job")
    return 0
