"""What company costs: training and rounding beside two processes that never stop.

Seconds of a few steps of the warm start, of one step of GRPO and of GPTQ of one layer, on
SmolLM2-135M, first alone and then beside one busy loop bound to each core, in turns. With a fair
share of every core, and nothing lost to waiting, the ratio is two.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from populations import ATTENTION, CACHE, MODEL, random_adapter
from report import print_json, print_table
from transformers.utils.logging import disable_progress_bar

from essa.parametrize.adapter import write_adapter
from essa.spec import ModelSpec, Precision
from essa.spec.grpo import GrpoSpec
from essa.spec.model import LoraSpec, SftSpec
from reward.machine import usable_cores
from workers.models.store import ModelStore
from workers.warm_start.pairs import SftPair

PROMPT_TOKENS, ANSWER_TOKENS = 44, 28
GROUPS, GROUP = 4, 8
"""Prompts of a GRPO step, and completions of each."""
TEXTS, TEXT_TOKENS = 16, 256
"""Calibrated on for GPTQ."""
UNITS = ("warm_start", "grpo_step", "gptq_layer")
BUSY = "while True: pass"


def main() -> None:
    """Measure all, or be the process that does one kind of work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=2, help="times alone and in company")
    parser.add_argument("--steps", type=int, default=4, help="of the warm start, each time")
    parser.add_argument("--what", nargs="+", choices=UNITS, default=UNITS)
    parser.add_argument("--worker", choices=UNITS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _work(arguments.worker, arguments.steps, arguments.turns)
        return
    cores = usable_cores()
    if len(cores) < 2:
        raise SystemExit("company.py: one core has no company; run it with two or more")
    # Before anything is timed: the model's first preparation takes long.
    ModelStore(CACHE).base(ModelSpec(path=MODEL))
    rows = [_measured(what, arguments.steps, arguments.turns, cores) for what in arguments.what]
    columns = ["what", "alone s", "in company s", "ratio"]
    print_table(columns, [[r["what"], r["alone_s"], r["company_s"], r["ratio"]] for r in rows])
    print_json(
        "company",
        cores=len(cores),
        bf16_is_native=torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        turns=arguments.turns,
        rows=rows,
    )


def _measured(what: str, steps: int, turns: int, cores: Sequence[int]) -> dict[str, Any]:
    """Medians over the turns; one process does all of them."""
    command = [sys.executable, __file__, "--worker", what]
    command += ["--steps", str(steps), "--turns", str(turns)]
    alone_s, company_s = [], []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        _answer(worker)  # the first unit warms up
        for _ in range(turns):
            alone_s.append(_ask(worker))
            with _company(cores):
                company_s.append(_ask(worker))
            print(
                f"{what}: {alone_s[-1]:.2f} s alone, {company_s[-1]:.2f} s in company", flush=True
            )
    alone, company = statistics.median(alone_s), statistics.median(company_s)
    return {
        "what": what,
        "alone_s": round(alone, 3),
        "company_s": round(company, 3),
        "ratio": round(company / alone, 2),
        "turns_alone_s": alone_s,
        "turns_company_s": company_s,
    }


def _ask(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin is not None  # a pipe
    worker.stdin.write("\n")
    worker.stdin.flush()
    return _answer(worker)


def _answer(worker: subprocess.Popen[str]) -> float:
    assert worker.stdout is not None  # a pipe
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"company.py: its process ended with code {worker.wait()}")
    return float(line)


@contextmanager
def _company(cores: Sequence[int]) -> Iterator[None]:
    """A busy loop bound to each core."""
    loops = [
        subprocess.Popen(["taskset", "--cpu-list", str(core), sys.executable, "-c", BUSY])
        for core in cores
    ]
    try:
        time.sleep(0.5)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _work(what: str, steps: int, turns: int) -> None:
    """Do a unit at once, then one for every line that comes in; each answers with its seconds."""
    disable_progress_bar()
    answers, sys.stdout = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory(prefix="essa-company-") as scratch:
        makers = {"warm_start": _warm_start, "grpo_step": _grpo, "gptq_layer": _gptq}
        unit = makers[what](Path(scratch), steps, 1 + 2 * turns)
        print(unit(), file=answers, flush=True)
        for _ in sys.stdin:
            print(unit(), file=answers, flush=True)
    # TRL's thread still waits for rollouts.
    os._exit(0)


def _base() -> Path:
    return ModelStore(CACHE).base(ModelSpec(path=MODEL)).folder


def _texts(rng: np.random.Generator, count: int, tokens: int) -> list[list[int]]:
    return rng.integers(1000, 20000, size=(count, tokens)).tolist()


def _warm_start(scratch: Path, steps: int, units: int) -> Callable[[], float]:
    """Steps of the demo's warm start, without loading."""
    from workers.warm_start.sft import train_lora

    rng = np.random.default_rng(0)
    settings = SftSpec(learning_rate=1e-3, epochs=1)
    # The first step is for warming up.
    count = settings.batch_size * (steps + 1)
    prompts = _texts(rng, count, PROMPT_TOKENS)
    answers = _texts(rng, count, ANSWER_TOKENS)
    pairs = [SftPair(tuple(a), tuple(b)) for a, b in zip(prompts, answers, strict=True)]
    lora = LoraSpec(rank=8, lora_alpha=16, target_modules=ATTENTION)

    def unit() -> float:
        begun_s: list[float] = []
        ended_s = 0.0

        def before_a_step() -> bool:
            begun_s.append(time.monotonic())
            return False

        def say(
            text: str,
            done: int | None = None,
            total: int | None = None,
            eta_s: float | None = None,
        ) -> None:
            nonlocal ended_s
            if "step" in text:
                ended_s = time.monotonic()

        out = scratch / "adapter"
        train_lora(_base(), pairs, lora, settings, 0, out, say, should_stop=before_a_step)
        return ended_s - begun_s[1]

    return unit


def _grpo(scratch: Path, steps: int, units: int) -> Callable[[], float]:
    """A step of GRPO: one round of made-up rollouts, one update."""
    from workers.methods.trl.messages import Experience, TrainerBuild
    from workers.methods.trl.trl_run import TrlRun

    write_adapter(random_adapter(_base(), 8, ATTENTION), scratch / "start")
    run = TrlRun(
        TrainerBuild(
            model_folder=_base(),
            adapter_folder=scratch / "start",
            checkpoints=scratch / "trainer",
            method=GrpoSpec(group_size=GROUP, micro_batch=8),
            batch_size=GROUPS,
            steps=units + 1,
            save_every=units + 1,
            longest_tokens=PROMPT_TOKENS + ANSWER_TOKENS,
            max_tokens=ANSWER_TOKENS,
            seed=0,
            threads=len(usable_cores()),
        ),
        0,
    )
    run.start()
    rng = np.random.default_rng(0)

    def unit() -> float:
        prompts = [one for one in _texts(rng, GROUPS, PROMPT_TOKENS) for _ in range(GROUP)]
        scores = rng.random(len(prompts)).tolist()
        made = Experience(prompts, _texts(rng, len(prompts), ANSWER_TOKENS), scores)
        started_s = time.monotonic()
        run.exchange(made)
        return time.monotonic() - started_s

    return unit


def _gptq(scratch: Path, steps: int, units: int) -> Callable[[], float]:
    """GPTQ of one layer to int8; every unit takes the next."""
    from workers.quantization.decoder import Decoder, text_threads
    from workers.quantization.gptq_blocks import RoundedFolder, round_block
    from workers.quantization.quantize import linear_shapes
    from workers.quantization.schemes import scheme_for

    shapes = linear_shapes(_base())
    scheme = scheme_for(Precision.INT8, shapes)
    schemes = {name.removesuffix(".weight"): scheme for name in shapes}
    threads = text_threads(TEXTS).__enter__()
    decoder = Decoder(_base(), _texts(np.random.default_rng(0), TEXTS, TEXT_TOKENS), threads)
    store = RoundedFolder(scratch)
    layers = iter(range(len(decoder)))

    def unit() -> float:
        started_s = time.monotonic()
        round_block(decoder, next(layers), schemes, store, lambda text: None)
        return time.monotonic() - started_s

    return unit


if __name__ == "__main__":
    main()
