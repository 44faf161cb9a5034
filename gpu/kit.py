"""Try the project on a GPU, in steps that end within minutes and can be taken up again.

    python3 gpu/kit.py a                # what the machine brings: torch and transformers
    .venv-gpu/bin/python gpu/kit.py b   # vLLM's CUDA build
    python gpu/kit.py a b --rehearse    # the same steps on a CPU

Each step is a process of its own and writes build/gpu/results/kit-STEP.json when it ends, however
it ends; a test writes its figures beside it. Steps that have passed are left out, and none begins
that may not end within --seconds: call it again for the rest. With the variable OUT every file is
copied there too. Needs nothing but Python itself; a step says what it misses.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "build" / "gpu" / "results"
_TAIL = 3000
PRECISIONS = ("bf16", "int8", "int4")


@dataclass(frozen=True)
class Step:
    """One process: a test or a file of them, and the longest it may take."""

    name: str
    test: str = ""
    longest_s: int = 180


def _brought(name: str, test: str, longest_s: int = 180) -> Step:
    return Step(f"a-{name}", f"tests/gpu/test_gpu_transformers.py::test_{test}", longest_s)


def _vllm(name: str, test: str, longest_s: int = 500) -> Step:
    return Step(f"b-{name}", f"tests/gpu/test_gpu_vllm.py::test_{test}", longest_s)


STEPS = {
    "a": (
        Step("a-machine"),
        _brought("engine", "engine_takes_the_device_and_its_rows_are_those_of_peft"),
        _brought("memory", "a_warm_start_without_memory_names_its_batch"),
        _brought("grpo", "a_step_of_grpo_moves_the_weights"),
        _brought("smollm2", "smollm2_generates_for_a_population"),
        _brought("turns", "engines_give_the_gpu_to_a_training_and_take_it_back"),
        _brought("arithmetic", "arithmetic_is_trained_and_searched_with_a_gate", 400),
    ),
    "b": (
        Step("b-machine"),
        Step("b-builds", "tests/contract/test_vllm_two_builds.py"),
        Step("b-slots", "tests/contract/test_vllm_slots.py"),
        *(
            _vllm(f"gate-{one}", f"engines_agree_with_plain_transformers[{one}]")
            for one in PRECISIONS
        ),
        _vllm("graphs", "graphs_follow_a_population_that_changes"),
        _vllm("resume", "a_job_goes_on_where_it_was_stopped"),
        *(
            _vllm(
                f"speed-{one}-{mode}", f"a_population_is_nearly_as_fast_as_the_base[{mode}-{one}]"
            )
            for one in PRECISIONS
            for mode in ("eager", "graphs")
        ),
        _vllm("two-gpus", "two_gpus_share_an_engine"),
        _vllm("grpo", "gradients_train_beside_engines"),
        _vllm("demo", "the_demo_improves_its_model", 560),
    ),
}


def main() -> int:
    """Run what is left; returns 0 if every step has passed or says why it does not apply."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="+", choices=sorted(STEPS))
    parser.add_argument("--rehearse", action="store_true", help="on the CPU")
    parser.add_argument("--again", action="store_true", help="steps that have passed too")
    parser.add_argument("--seconds", type=float, default=570.0, help="time of this call")
    parser.add_argument("--only", help="steps whose name has this in it")
    given = parser.parse_args()
    ends_s = time.monotonic() + given.seconds
    RESULTS.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, str] = {}
    for step in (step for which in given.which for step in STEPS[which]):
        if given.only and given.only not in step.name:
            continue
        known = None if given.again else _known(step, given.rehearse)
        if known is None and ends_s - time.monotonic() < min(step.longest_s, given.seconds / 2):
            outcomes[step.name] = "left for the next call"
        else:
            outcomes[step.name] = known or _run(step, given.rehearse, ends_s)
        print(f"{step.name:22} {outcomes[step.name]}", flush=True)
    return 0 if set(outcomes.values()) <= {"passed", "skipped"} else 1


def _known(step: Step, is_rehearsal: bool) -> str | None:
    """How a step ended before, where it need not be done again."""
    try:
        record = json.loads(_file(step).read_text())
    except (OSError, ValueError):
        return None
    is_done = record["outcome"] == "passed" and record["rehearsal"] == is_rehearsal
    return record["outcome"] if is_done else None


def _run(step: Step, is_rehearsal: bool, ends_s: float) -> str:
    began_s = time.monotonic()
    record: dict[str, Any] = {"step": step.name, "rehearsal": is_rehearsal}
    if step.test:
        record |= _tested(step, is_rehearsal, max(30.0, ends_s - began_s))
    else:
        record |= {"outcome": "passed", "machine": _machine()}
    record["seconds"] = round(time.monotonic() - began_s, 1)
    _file(step).write_text(json.dumps(record, indent=2) + "\n")
    if out := os.environ.get("OUT"):
        shutil.copy(_file(step), out)
    return record["outcome"]


def _tested(step: Step, is_rehearsal: bool, left_s: float) -> dict[str, Any]:
    """Outcome of a step's tests."""
    environment = os.environ | {"ESSA_GPU_RESULTS": str(RESULTS), "PYTHONPATH": str(ROOT)}
    environment |= {"ESSA_GPU_REHEARSAL": "1"} if is_rehearsal else {}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", step.test]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        told, _ = process.communicate(timeout=min(left_s, float(step.longest_s)))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        told, _ = process.communicate()
        return {"outcome": f"took longer than {step.longest_s} s", "tail": told[-_TAIL:]}
    outcome = "failed"
    if process.returncode == 0:
        outcome = "passed" if " passed" in told else "skipped"
    return {"outcome": outcome, "tail": told[-_TAIL:]}


def _machine() -> dict[str, Any]:
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
    }
    for name in ("torch", "transformers", "vllm", "ray", "peft", "trl", "pydantic"):
        code = f"import importlib.metadata as m; print(m.version({name!r}))"
        found[name] = _said([sys.executable, "-c", code]) or "missing"
    found["gpus"] = _said(
        ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    ).splitlines()
    return found


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _file(step: Step) -> Path:
    return RESULTS / f"kit-{step.name}.json"


if __name__ == "__main__":
    sys.exit(main())
