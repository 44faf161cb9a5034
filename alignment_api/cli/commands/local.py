"""`essa run`: a job in this process, without the service."""

from __future__ import annotations

import argparse
import os

from rich.console import Console

from alignment_api.cli.in_process import output_to, run_here
from alignment_api.cli.terminal.live import print_result
from alignment_api.doctor.preflight import require_folder
from alignment_api.execution.run_folder import new_folder
from alignment_api.jobs.checks import check_job
from alignment_api.processes.folder_lock import FolderLock
from alignment_api.processes.ownership import check_package_owners
from alignment_api.settings import Settings
from essa.errors import JobCancelledError
from essa.spec.reading.file import load_job_file


def run(arguments: argparse.Namespace) -> int:
    """Run the job, showing it live; the output of engines goes to `job.log` in the run folder."""
    settings = Settings.from_environment(os.environ, home=arguments.home)
    check_package_owners()
    spec = load_job_file(arguments.job_file, arguments.overrides)
    check_job(spec, settings)
    run_dir = (arguments.run_dir or new_folder(settings.home / "runs", spec.name)).absolute()
    if arguments.run_dir is not None:
        require_folder(run_dir, "--run-dir")
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / "job.log"
    with FolderLock(run_dir / "run.lock"), output_to(log) as screen:
        console = Console(file=screen)
        console.print(f"{spec.name} runs in {run_dir}", highlight=False, soft_wrap=True)
        try:
            result = run_here(spec, settings, run_dir, console)
        except JobCancelledError:
            again = f"essa run {arguments.job_file} --run-dir {run_dir}"
            console.print(f"stopped; go on with: {again}", highlight=False, soft_wrap=True)
            return 1
        print_result(result, console)
    return 0
