"""`essa validate`."""

from __future__ import annotations

import os

from alignment_api.cli.flags import Home, JobFile, Overrides


def run(job_file: JobFile, /, *, overrides: Overrides = (), home: Home = None) -> int:
    """Check a job file, its data and its reward; exits 2 if something is wrong."""
    from alignment_api.jobs.checks import check_job
    from alignment_api.settings import Settings
    from essa.spec.reading.file import load_job_file

    settings = Settings.from_environment(os.environ, home=home)
    check_job(load_job_file(job_file, overrides), settings)
    print(f"{job_file} is a valid job")
    return 0
