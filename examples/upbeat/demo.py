"""`make demo`: start the service, measure the machine, submit the upbeat job over REST in the size
that fits, watch it, show the result.

Everything it starts ends with it, on Ctrl-C too. Writes build/demo/result.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from measure import measure
from rich.console import Console
from scale import (
    LIMIT_S,
    SETTING,
    Scale,
    choose_scale,
    fitting_engines,
    overrides,
    sampled_start,
)
from service import free_port, serve, stop, wait_until_up

from alignment_api.cli.client import ApiClient
from alignment_api.cli.terminal.text import duration
from alignment_api.cli.watching import watch_job
from alignment_api.doctor.preflight import require_machine
from alignment_api.settings import Settings
from essa.errors import MachineError, SpecError
from essa.events import ResultEvent
from essa.plan.job_speeds import JobSpeeds
from essa.spec import AlignmentJobSpec, DatasetSpec
from essa.spec.reading.file import load_job_file
from reward.machine import memory_limit, usable_cores

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the demo; returns 0 if the job succeeded."""
    arguments = _arguments()
    console = Console()
    out = arguments.out.resolve()
    started_s = time.monotonic()
    job = _job(arguments, [])
    _require_machine(job, out)
    out.mkdir(parents=True, exist_ok=True)
    # SIGTERM ends the demo as Ctrl-C does; a shell may have started it with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    server = f"http://127.0.0.1:{arguments.port or free_port()}"
    process = serve(server, out, job.engine.workers)
    try:
        wait_until_up(server, process, out)
        console.print(f"service at {server}, its log in {out / 'serve.log'}")
        speeds = measure(job, out / "home", console)
        spent_s = time.monotonic() - started_s
        scale = choose_scale(job, speeds, spent_s)
        job = _job(arguments, overrides(scale, speeds.precision, spent_s))
        _tell(console, job, speeds, spent_s + scale.seconds)
        with ApiClient(server) as client:
            job_id = client.submit(job)["id"]
            code = watch_job(client, job_id, console)
            finished = client.job(job_id)
    except KeyboardInterrupt:
        console.print("interrupted; stopping the service")
        return 130
    finally:
        stop(process)
    if code == 0:
        result = ResultEvent.model_validate(finished["essa"]["result"])
        seconds = time.monotonic() - started_s
        figures = _figures(job_id, result, seconds) | _forecast(scale, speeds, spent_s)
        path = out / "result.json"
        path.write_text(json.dumps(figures, indent=2) + "\n")
        expected = duration(figures["estimate_s"])
        text = f"\n{duration(seconds)}; {expected} were expected. Figures of it: {path}"
        console.print(text, soft_wrap=True)
    return code


def _require_machine(job: AlignmentJobSpec, out: Path) -> None:
    """End at once where the service would refuse the job."""
    try:
        sampled_start(job)
        require_machine(job, Settings.from_environment(os.environ, home=out / "home"))
    except (MachineError, SpecError) as error:
        print(error.message, file=sys.stderr)
        sys.exit(2)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=Path, default=HERE / "job.yaml", help="job file to submit")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder to write to")
    parser.add_argument("--port", type=int, default=0, help="port of the service; 0 takes any")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="override, e.g. seed=1"
    )
    return parser.parse_args()


def _job(arguments: argparse.Namespace, scaled: list[str]) -> AlignmentJobSpec:
    """The job with the engines that fit here, as it is scaled; what the caller sets stands."""
    job = load_job_file(arguments.job, arguments.set)
    limit = memory_limit()
    free_bytes = psutil.virtual_memory().available if limit is None else limit.free
    engines = fitting_engines(job.engine.workers, len(usable_cores()), free_bytes)
    settings = [*SETTING, f"engine.workers={engines}", *scaled, *arguments.set]
    return load_job_file(arguments.job, settings)


def _tell(console: Console, job: AlignmentJobSpec, speeds: JobSpeeds, estimate_s: float) -> None:
    """What was measured, what is done for it, and how long that takes."""
    console.print(
        f"measured: {1 / speeds.answer_s:.1f} answers a second over an {speeds.precision} base, "
        f"{speeds.train_step_s:.1f} s a training step, {duration(speeds.engines_s)} until the "
        "engines are up\n"
        f"so: a warm start from {sampled_start(job).max_prompts} prompts, {job.budget.generations} "
        f"generations of {job.search.population} candidates x {job.batch_size} prompts, "
        f"{_prompts(job.data.validation)} for validation, {_prompts(job.data.test)} for the test",
        highlight=False,
        soft_wrap=True,
    )
    late = "" if estimate_s <= LIMIT_S else ": this machine is too slow for ten minutes"
    text = f"the whole demo will take about {duration(estimate_s)}{late}\n"
    console.print(text, highlight=False, soft_wrap=True)


def _prompts(given: DatasetSpec | None) -> str:
    """How many prompts of a set are used; the caller may have taken set or limit away."""
    if given is None:
        return "a share of the training prompts"
    return "all prompts" if given.limit is None else f"{given.limit} prompts"


def _figures(job_id: str, result: ResultEvent, seconds: float) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "test": {name: score.model_dump(mode="json") for name, score in result.test.items()},
        "generations": result.generations,
        "seconds": round(seconds, 1),
        "adapter": result.adapter,
    }


def _forecast(scale: Scale, speeds: JobSpeeds, spent_s: float) -> dict[str, Any]:
    """What was expected before the job began, and why; `estimate_s` is of `seconds`."""
    return {
        "estimate_s": round(spent_s + scale.seconds, 1),
        "estimate_parts_s": {
            "before": round(spent_s, 1),
            **{name: round(part_s, 1) for name, part_s in scale.parts_s.items()},
        },
        "scale": {**asdict(scale.size), "generations": scale.generations},
        "speeds": speeds._asdict(),
    }


if __name__ == "__main__":
    sys.exit(main())
