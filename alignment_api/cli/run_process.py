"""A process that runs one job without the service: `python -m alignment_api.cli.run_process`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from alignment_api import composition
from alignment_api.cli.in_process import run_here
from alignment_api.composition import RunJob
from alignment_api.processes.folder_lock import FolderLock
from alignment_api.processes.lifetime import die_with_parent, unwind_on_terminate
from alignment_api.processes.user_environment import complete_environment
from alignment_api.settings import Settings
from essa.errors import EssaError
from essa.spec import AlignmentJobSpec

_LOCK_WAIT_S = 60.0


def main(argv: Sequence[str] | None = None, run_job: RunJob = composition.run_job) -> int:
    """Run or resume a job; events go to the run's folder, lines about them to standard output.

    Args:
        argv: `--spec`, `--run-dir`, `--home`, and `--parent`, the process that this one must not
            outlive.
        run_job: what runs it.
    Returns:
        0 once the job has its result, 1 if it failed.
    """
    parser = argparse.ArgumentParser(prog="alignment_api.cli.run_process", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="the whole specification, JSON")
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args(argv)
    unwind_on_terminate()
    die_with_parent(arguments.parent)
    complete_environment(os.environ, arguments.home)
    settings = Settings.from_environment(os.environ, home=arguments.home)
    spec = AlignmentJobSpec.model_validate_json(arguments.spec.read_text(encoding="utf-8"))
    # A predecessor, orphaned by a crash of its parent, may need a moment to go.
    lock = FolderLock(arguments.run_dir / "run.lock")
    try:
        lock.acquire(_LOCK_WAIT_S)
        run_here(spec, settings, arguments.run_dir, Console(width=200), run_job)
    except EssaError as error:
        sys.stdout.write(f"{error.code}: {error.message}\n")
        return 1
    finally:
        lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
