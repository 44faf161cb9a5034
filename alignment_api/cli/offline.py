"""Read the home folder without the service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alignment_api.errors import UploadedFileNotFoundError
from alignment_api.files.repository import FileRepository
from alignment_api.files.service import FileService
from alignment_api.jobs.checks import find_problems
from alignment_api.preflight import require_machine
from alignment_api.settings import Settings
from alignment_api.store import Store
from essa.spec import AlignmentJobSpec
from essa.spec.file import problem_error


def check_job(spec: AlignmentJobSpec, settings: Settings) -> None:
    """Look at all that would stop a job and can be seen without loading a model.

    Raises:
        SpecError: with a line for each fault of the job.
        MachineError: this machine cannot run it.
    """
    problems = find_problems(
        spec, uploaded_files(settings), settings.reward_policy, settings.cache_dir
    )
    if problems:
        raise problem_error(problems)
    require_machine(spec, settings)


def uploaded_files(settings: Settings) -> Callable[[str], Path]:
    """A function from file id to path, for a home that may not exist yet."""

    def resolve(file_id: str) -> Path:
        if settings.database_url is None and not settings.sqlite_path.is_file():
            raise UploadedFileNotFoundError(
                f"there is no file {file_id} in {settings.home}; name its home with --home"
            )
        store = Store(settings.store_url)
        try:
            return FileService(FileRepository(store), settings.files_dir).resolve(file_id)
        finally:
            store.close()

    return resolve
