"""`essa submit`."""

from __future__ import annotations

from alignment_api.cli.flags import DEFAULT_SERVER, JobFile, Key, Overrides, Priority, Server


def run(
    job_file: JobFile,
    /,
    *,
    overrides: Overrides = (),
    watch: bool = False,
    suffix: str | None = None,
    priority: Priority = None,
    server: Server = DEFAULT_SERVER,
    key: Key = None,
) -> int:
    """Send a job file to the service.

    Args:
        watch: Show the job's progress to its end.
        suffix: Part of the aligned model's name.
    """
    from alignment_api.cli.client import ApiClient
    from alignment_api.cli.watching import watch_job
    from essa.spec.reading.file import load_job_file

    spec = load_job_file(job_file, overrides)
    given = {"suffix": suffix, "priority": priority}
    extras = {name: value for name, value in given.items() if value is not None}
    with ApiClient(server, key) as client:
        job = client.submit(spec, **extras)
        if watch:
            return watch_job(client, job["id"])
    print(job["id"])
    return 0
