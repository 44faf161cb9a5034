"""`essa run`: a job in a folder, without the service."""

from __future__ import annotations

import os
from pathlib import Path

from alignment_api.cli.flags import Home, JobFile, Overrides
from essa.errors import JobCancelledError


def run(
    job_file: JobFile,
    /,
    *,
    overrides: Overrides = (),
    home: Home = None,
    run_dir: Path | None = None,
) -> int:
    """Run a job file here, without the service.

    The job is shown live; the output of engines goes to `job.log` in the run's folder.

    Args:
        run_dir: Folder of the run; one with a checkpoint is resumed (default: a new one in the
            home).
    """
    from rich.console import Console

    from alignment_api.cli.folder_run import new_folder, run_in_folder
    from alignment_api.cli.terminal.live import print_result
    from alignment_api.doctor.preflight import require_folder
    from alignment_api.jobs.checks import check_job
    from alignment_api.processes.ownership import check_package_owners
    from alignment_api.settings import Settings
    from essa.spec.reading.file import load_job_file

    settings = Settings.from_environment(os.environ, home=home)
    check_package_owners()
    spec = load_job_file(job_file, overrides)
    check_job(spec, settings)
    folder = (run_dir or new_folder(settings.home / "runs", spec.name)).absolute()
    if run_dir is not None:
        require_folder(folder, "--run-dir")
    console = Console()
    console.print(f"{spec.name} runs in {folder}", highlight=False, soft_wrap=True)
    try:
        result = run_in_folder(spec, settings, folder, console)
    except JobCancelledError:
        again = f"essa run {job_file} --run-dir {folder}"
        console.print(f"stopped; go on with: {again}", highlight=False, soft_wrap=True)
        return 1
    print_result(result, console)
    return 0
