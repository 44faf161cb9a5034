"""A process that runs one job of a comparison by a script; everything around it is the real one.

It makes no engine: it writes down its warm start and two validations. Where the comparison's folder
has a file `break-RUN`, that run reports its warm start and dies the first time; with `hang-RUN` it
goes on only when told to end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from comparison_runs import result, step, validation

from alignment_api.execution import job_process
from essa.errors import EngineStartError
from essa.events import ResultEvent, WarmStartEvent
from essa.ports import RunSite
from essa.spec import AdapterWarmStartSpec, AlignmentJobSpec
from reward.resources import RewardPolicy

WARM_S, STEP_S = 10.0, {"evolution": 5.0, "grpo": 20.0}


def run_job(spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy) -> ResultEvent:
    """One run: `grpo` takes four times as long."""
    run_dir, sink = site.run_dir, site.sink
    method = spec.method.type
    if spec.budget.tokens == 13:
        raise EngineStartError("the engine did not start")
    is_making = spec.warm_start.type != "adapter"
    began = run_dir / "warm_start"
    if is_making and not began.exists():
        began.mkdir()
        (began / "adapter_config.json").write_text("{}")
        with (run_dir / "trained").open("a") as file:
            file.write("once\n")
        sink.emit(WarmStartEvent(kind=spec.warm_start.type, seconds=WARM_S, tokens=500, samples=9))
        _die_or_hang_if_told(run_dir)
    elif not is_making:
        assert isinstance(spec.warm_start, AdapterWarmStartSpec)
        assert (Path(spec.warm_start.path) / "adapter_config.json").is_file()
        sink.emit(WarmStartEvent(kind="adapter", seconds=0.1, tokens=0, samples=0))
    start_s, step_s = (WARM_S if is_making else 0.0) + 5.0, STEP_S.get(method, 5.0)
    sink.emit(validation(0, 0.3, start_s))
    for number, score in ((1, 0.5), (2, 0.7)):
        sink.emit(step(number, start_s + number * step_s - 1))
        sink.emit(validation(number, score, start_s + number * step_s))
    peak = 1.0 if method == "evolution" else 3.0
    ended = result(0.65, start_s + 2 * step_s + 1, peak=peak)
    (run_dir / "provenance.json").write_text(
        json.dumps({"versions": {"numpy": "2.0"}, "data": [], "base": None})
    )
    (run_dir / "result.json").write_text(ended.model_dump_json())
    sink.emit(ended)
    return ended


def _die_or_hang_if_told(run_dir: Path) -> None:
    hangs = run_dir.parents[1] / f"hang-{run_dir.name}"
    if hangs.exists():
        hangs.unlink()
        written = run_dir / "pid.new"
        written.write_text(str(os.getpid()))
        written.rename(run_dir / "pid")
        signal.pause()
    told = run_dir.parents[1] / f"break-{run_dir.name}"
    if told.exists():
        told.unlink()
        with (run_dir / "events.jsonl").open("a") as file:
            file.write('{"type": "half')
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(job_process.main(run_job=run_job))
