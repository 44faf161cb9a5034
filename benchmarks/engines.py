"""Engines of a benchmark, each in a process of its own, which take turns on the same cores.

A turn is one line of JSON to the process and one back. Ways to run a population:

  base        our engine without adapters: its arguments, kernels and environment; the floor
  population  our engine
  multilora   stock vLLM with its threads bound, one adapter folder per candidate, all loaded
  single      stock vLLM with room for one adapter
  defaults    `vllm.LLM(model)`, told only how much memory it may have
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from populations import Setup

from essa.spec import VllmEngineSpec
from workers.engines.registry import process_environment
from workers.engines.vllm_settings import bound_to

STOCK = ("multilora", "single")
"""Ways that are vLLM's own."""


class EngineProcess:
    """One engine on its cores."""

    def __init__(self, way: str, setup: Setup, cores: Sequence[int]) -> None:
        """Start it; `wait_until_ready` returns when the model is loaded."""
        self._way = way
        self._log = Path(setup.folder, f"{way}-{cores[0]}.log")
        program = "import engine_ways; engine_ways.main()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, way, json.dumps(asdict(setup)), json.dumps([*cores])],
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log.open("w"),
            env=_environment(way, cores),
            text=True,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Return once it can generate."""
        self.answer()

    def ask(self, turn: str, **options: Any) -> None:
        """Start a turn."""
        assert self._process.stdin is not None  # a pipe
        self._process.stdin.write(json.dumps({"turn": turn, **options}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the turn to end: what it found, with its `seconds`."""
        assert self._process.stdout is not None  # a pipe
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        sys.exit(f"the {self._way} engine ended:\n{self._log.read_text()[-3000:]}")

    def turn(self, turn: str, **options: Any) -> dict[str, Any]:
        """One whole turn."""
        self.ask(turn, **options)
        return self.answer()

    def speed(self, turn: str = "all", **options: Any) -> float:
        """Generated tokens per second of one turn."""
        found = self.turn(turn, **options)
        return found["tokens"] / found["seconds"]

    def stop(self) -> None:
        """End the process and those that vLLM started from it."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def running(starts: Sequence[tuple[str, Setup, Sequence[int]]]) -> Iterator[list[EngineProcess]]:
    """Engines of (way, setup, cores) for the length of a block, loaded."""
    with ExitStack() as stack:
        engines = []
        for start in starts:
            engine = EngineProcess(*start)
            stack.callback(engine.stop)
            # One after the other: vLLM measures the free memory while it starts.
            engine.wait_until_ready()
            engines.append(engine)
        yield engines


def _environment(way: str, cores: Sequence[int]) -> dict[str, str]:
    root = str(Path(__file__).parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment["VLLM_LOGGING_LEVEL"] = "ERROR"
    if way == "defaults":
        return environment
    ours = process_environment(VllmEngineSpec(), cores)
    if way in STOCK:
        # Threads where they belong, as vLLM's documents advise; its memory is its own affair.
        ours = {name: ours[name] for name in ("OMP_NUM_THREADS", "VLLM_ENABLE_V1_MULTIPROCESSING")}
    return environment | ours | bound_to(VllmEngineSpec(), cores)
