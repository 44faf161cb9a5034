"""How fast this machine is at the demo's job, tried in a process of its own that then ends.

`measure` starts it and shows what it does; run as a script it does it, and prints its events and
then the speeds, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO

from rich.console import Console

from alignment_api import composition
from alignment_api.cli.in_process import output_to
from alignment_api.cli.terminal.live import LiveView
from alignment_api.files.offline import uploaded_files
from alignment_api.processes.lifetime import die_with_parent, unwind_on_terminate
from alignment_api.settings import Settings
from essa.errors import EssaError
from essa.events import ErrorEvent, Event, StageEvent, read_event
from essa.plan.job_speeds import JobSpeeds
from essa.ports import EventSink, RunControl, RunSite
from essa.spec import AlignmentJobSpec

STOP_TIMEOUT_S = 20.0


def measure(job: AlignmentJobSpec, home: Path, console: Console) -> JobSpeeds:
    """Try the job's engines, trainer and gate; its models are prepared in `home` on the way.

    Raises:
        SystemExit: it cannot be done here; the message says why.
    """
    speeds: JobSpeeds | None = None
    last = f"it ended early; see {home / 'measure.log'}"
    with _child(job, home) as lines, LiveView(console, "measuring this machine") as view:
        for line in lines:
            said = json.loads(line)
            if "speeds" in said:
                speeds = JobSpeeds(**said["speeds"])
                continue
            event = read_event(said)
            if isinstance(event, ErrorEvent):
                last = event.message
            else:
                view.on_event(event)
        view.on_event(StageEvent(stage="speed", message="done"))
    if speeds is None:
        sys.exit(f"this machine's speed could not be measured: {last}")
    return speeds


@contextmanager
def _child(job: AlignmentJobSpec, home: Path) -> Iterator[IO[str]]:
    """The script below, working; its lines. Ended with the block."""
    home.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, __file__, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C reaches the demo alone, which then ends this one in order.
        start_new_session=True,
    )
    assert process.stdin is not None  # both are pipes
    assert process.stdout is not None
    try:
        process.stdin.write(job.model_dump_json())
        process.stdin.close()
        yield process.stdout
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class _Lines(EventSink):
    def __init__(self, screen: TextIO) -> None:
        self._screen = screen

    def emit(self, event: Event) -> None:
        print(event.model_dump_json(), file=self._screen, flush=True)


class _NeverCancelled(RunControl):
    def is_cancelled(self) -> bool:
        return False


def main() -> int:
    """Try the job on standard input; returns 0 if there are speeds."""
    unwind_on_terminate()
    die_with_parent(os.getppid())
    home = Path(sys.argv[1])
    settings = Settings.from_environment(os.environ, home=home)
    job = AlignmentJobSpec.model_validate_json(sys.stdin.read())
    # Engines and libraries print what no one wants on a screen.
    with output_to(home / "measure.log") as screen:
        sink = _Lines(screen)
        try:
            files = uploaded_files(settings)
            site = RunSite(home, settings.cache_dir, sink, _NeverCancelled(), files)
            speeds = composition.try_speeds(job, site)
        except EssaError as error:
            sink.emit(ErrorEvent(code=error.code, message=error.message))
            return 1
        print(json.dumps({"speeds": speeds._asdict()}), file=screen, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
