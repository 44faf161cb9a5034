"""A job process whose run is scripted; everything around it is the real one.

The job's name says what it does. `slow` waits for the file `go` in its run folder between
generations, so that tests decide how far it gets.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from alignment_api.execution.job_process import main
from essa.errors import EngineStartError, JobCancelledError
from essa.events import (
    CompletionSample,
    GenerationEvent,
    ResultEvent,
    ScoreSummary,
    StageEvent,
    ValidationEvent,
)
from essa.ports import RunControl, RunSite
from essa.spec import AlignmentJobSpec, Precision
from reward.resources import RewardPolicy
from workers.export.provenance import BaseRecord, CheckpointRecord, DataRecord, Provenance

GENERATIONS = 4
ODD_TEXT = "one\u2028two\x85three\nfour é"


def run_job(spec: AlignmentJobSpec, site: RunSite, reward_policy: RewardPolicy) -> ResultEvent:
    """Run the script named by the job."""
    run_dir, sink, control = site.run_dir, site.sink, site.control
    os.write(1, b"engine chatter\n")
    sink.emit(StageEvent(stage="search", message=ODD_TEXT, total=GENERATIONS))
    _ENDINGS.get(spec.name, lambda _: None)(control)
    checkpoint = run_dir / "generation"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for generation in range(done + 1, GENERATIONS + 1):
        _wait(spec, run_dir, control, generation)
        checkpoint.write_text(str(generation))
        sink.emit(generation_event(generation))
        sink.emit(
            ValidationEvent(generation=generation, score=generation / 10, ci95=(0, 1), is_best=True)
        )
    result = _result(spec, run_dir)
    (run_dir / "result.json").write_text(result.model_dump_json())
    sink.emit(result)
    return result


def generation_event(generation: int) -> GenerationEvent:
    """One plausible generation."""
    return GenerationEvent(
        generation=generation,
        fitness=[0.1 * generation, None],
        best=0.1 * generation,
        mean=0.05 * generation,
        worst=0.0,
        sigma=4.0,
        step_norm=1.0,
        distance=1.0,
        reliability=0.7,
        missing_scores=1,
        generated_tokens=100,
        tokens_per_s=50.0,
        rollout_s=2.0,
        reward_s=0.1,
        coordinator_s=0.01,
        elapsed_s=2.0 * generation,
        eta_s=8.0 - 2.0 * generation,
    )


def provenance(spec: AlignmentJobSpec) -> Provenance:
    """What such a job was made from."""
    checkpoint = CheckpointRecord(
        precision=Precision(spec.engine.precision), folder="base", digest="0" * 64
    )
    return Provenance(
        spec=spec.model_dump(mode="json"),
        base=BaseRecord(name="org/model", is_hub=True, folder="base", digest="0" * 64),
        searched=checkpoint,
        served=checkpoint,
        data=(DataRecord(set="train", name="prompts.jsonl", sha256="1" * 64, rows=16),),
        sizes={"train": 12, "validation": 2, "test": 2},
        versions={"numpy": "2.0"},
        started_at=0,
    )


def _wait(spec: AlignmentJobSpec, run_dir: Path, control: RunControl, generation: int) -> None:
    if spec.name != "slow":
        return
    while not (run_dir / f"go{generation}").exists():
        if control.is_cancelled():
            raise JobCancelledError("the user cancelled the job")
        time.sleep(0.02)


def _result(spec: AlignmentJobSpec, run_dir: Path) -> ResultEvent:
    adapter = run_dir / "adapter"
    adapter.mkdir(exist_ok=True)
    config = {"base_model_name_or_path": "models/base", "r": 8}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    provenance(spec).save(run_dir)
    scores = {
        name: ScoreSummary(mean=mean, ci95=(mean - 0.05, mean + 0.05), prompts=200)
        for name, mean in (("base", 0.1), ("warm_start", 0.25), ("aligned", 0.7))
    }
    return ResultEvent(
        test=scores,
        validation=scores["aligned"],
        selected_generation=GENERATIONS,
        generations=GENERATIONS,
        stop_reason="generations",
        seconds=8.0,
        tokens=400,
        adapter=str(adapter),
        samples=[CompletionSample(prompt="p", base="b", warm_start="w", aligned=ODD_TEXT)],
    )


def _crash(control: RunControl) -> None:
    os.write(1, b"about to crash\n")
    os.kill(os.getpid(), signal.SIGKILL)


def _known_error(control: RunControl) -> None:
    raise EngineStartError("the engine did not start")


def _unknown_error(control: RunControl) -> None:
    raise ZeroDivisionError("secret detail\nsecond line")


def _deaf(control: RunControl) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child:
        Path(os.environ["ESSA_TEST_PIDS"]).write_text(f"{os.getpid()} {child}")
    while True:
        time.sleep(1)


_ENDINGS: dict[str, Callable[[RunControl], None]] = {
    "crash": _crash,
    "known-error": _known_error,
    "unknown-error": _unknown_error,
    "deaf": _deaf,
}

if __name__ == "__main__":
    sys.exit(main(run_job=run_job))
