"""Whole jobs of a benchmark: each in a process and a folder of its own, on chosen cores."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from populations import CACHE

from alignment_api import composition
from essa.events import Event, StageEvent
from essa.ports import EventSink, RunControl, RunSite
from essa.spec import AlignmentJobSpec

_DONE = "finished"
"""Stands in the folder of a run that has come to its end."""


def read_events(folder: Path) -> list[dict[str, Any]]:
    """What `run_here` recorded there, without the seconds."""
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines]


def folder_name(settings: str) -> str:
    """A name that tells runs with other settings apart."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", settings).strip("-")


def run_in_child(name: str, folder: Path, command: Sequence[str]) -> None:
    """Run a job by a command that calls `run_here`, or end with the tail of its log.

    One that has finished there is not run again. One that has not is not resumed: the clock of a
    resumed job says nothing.
    """
    if (folder / _DONE).exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (folder / "job.log").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    if code != 0:
        sys.exit(f"{name} failed:\n{(folder / 'job.log').read_text()[-3000:]}")


def run_here(spec: AlignmentJobSpec, folder: Path, cores: Sequence[int]) -> None:
    """Run a job in this process and everything it starts on these cores; events are recorded."""
    # Inherited by Ray and its engines.
    os.sched_setaffinity(0, set(cores))
    sink = _Recorder(folder / "events.jsonl")
    run_dir = folder / "run"
    composition.run_job(
        spec, RunSite(run_dir, CACHE.resolve(), sink, _NeverCancelled(), no_uploads)
    )
    (folder / _DONE).touch()


def no_uploads(file_id: str) -> Path:
    """Resolves the uploaded files of a job: there are none here."""
    raise FileNotFoundError(file_id)


class _Recorder(EventSink):
    """Every event with the seconds since the start, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._started_s = time.monotonic()

    def emit(self, event: Event) -> None:
        """Write one event."""
        seconds = round(time.monotonic() - self._started_s, 2)
        if not isinstance(event, StageEvent):
            line = json.dumps({"seconds": seconds, "event": event.model_dump(mode="json")})
            self._file.write(line + "\n")
            self._file.flush()


class _NeverCancelled(RunControl):
    def is_cancelled(self) -> bool:
        """False."""
        return False
