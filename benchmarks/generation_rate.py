"""Generations a minute: our engine against the ways without one, on the demo job's shape.

A generation is: new vectors, the population in place, every candidate's answers to every prompt.

  population   one write of the scale table, then one batch; prefix caching within a candidate
  multi-LoRA   an adapter folder a candidate, all loaded into stock vLLM under new names, one batch
  one at a time   stock vLLM with room for one adapter: write, load, answer, next candidate

One core each, taking turns. Population, prompts and tokens are those of examples/upbeat/job.yaml;
answers run to their full length. Prefix caching is on in all three; stock vLLM's blocks of 128
tokens are longer than these prompts, so only ours finds anything to share.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from engines import running
from populations import CACHE, MODEL, prepare
from report import median, print_json, print_table, ratio, shown_ratio

from essa.spec import ChatPromptSpec, ModelSpec
from essa.spec.reading.file import load_job_file
from workers.models.store import ModelStore
from workers.prompting import PromptEncoder

JOB = Path(__file__).parents[1] / "examples" / "upbeat"
NAMES = {"population": "population", "multilora": "multi-LoRA files", "single": "one at a time"}


def main() -> None:
    """Measure every precision."""
    arguments = _arguments()
    rows = [_measure(precision, arguments) for precision in arguments.precisions.split(",")]
    print_table(
        ["precision", *NAMES.values(), "/ multi-LoRA files", "/ one at a time"],
        [
            [
                row["precision"],
                *(float(row[f"{way}_per_minute"]) for way in NAMES),
                shown_ratio(row["population_over_multilora"]),
                shown_ratio(row["population_over_single"]),
            ]
            for row in rows
        ],
        f"generations a minute: {rows[0]['population']} candidates x {rows[0]['prompts']} prompts",
    )
    print_json("generation_rate", rows=rows)


def _measure(precision: str, arguments: argparse.Namespace) -> dict[str, Any]:
    job = load_job_file(JOB / "job.yaml")
    population = arguments.population or job.search.population
    count = arguments.prompts or job.batch_size
    new_tokens = job.rollout.max_tokens
    prompts = sampled_prompts(count)
    with tempfile.TemporaryDirectory(prefix="essa-bench-") as folder:
        setup = prepare(
            Path(folder),
            precision,
            population,
            with_adapters=True,
            new_tokens=new_tokens,
            prompt_tokens=max(map(len, prompts)),
            prefix_caching=True,
        )
        asked = {"prompts": prompts, "new_tokens": new_tokens}
        with running([(way, setup, [arguments.core]) for way in NAMES]) as engines:
            rates: dict[str, list[float]] = {way: [] for way in NAMES}
            for turn in range(-1, arguments.turns):
                for way, engine in zip(NAMES, engines, strict=True):
                    seconds = engine.turn("generation", seed=turn + 10, **asked)["seconds"]
                    if turn >= 0:
                        rates[way].append(60 / seconds)
    return {
        "precision": precision,
        "population": population,
        "prompts": count,
        "new_tokens": new_tokens,
        **{f"{way}_per_minute": median(values) for way, values in rates.items()},
        "population_over_multilora": ratio(rates["population"], rates["multilora"]),
        "population_over_single": ratio(rates["population"], rates["single"]),
    }


def sampled_prompts(count: int) -> list[list[int]]:
    """Token ids of so many of the demo's training prompts."""
    encoder = PromptEncoder(ModelStore(CACHE).base(ModelSpec(path=MODEL)).folder, ChatPromptSpec())
    lines = (JOB / "train.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in random.Random(0).sample(lines, count)]
    return [encoder.token_ids(encoder.prompt(row, 0).text) for row in rows]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precisions", default="bf16,int8", help="bf16, int8 or int4")
    parser.add_argument("--population", type=int, help="candidates (default: the job's)")
    parser.add_argument("--prompts", type=int, help="prompts of a generation (default: the job's)")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--core", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
