"""Does an answer depend on what else is in the batch? Differing sequences, tokens and bits.

A population answers the demo's prompts greedily in one batch; then the same pairs come shuffled,
and in batches of 1, 3 and 8. Counted are sequences and tokens that differ from those of the one
batch, and the share of log-probabilities that are equal to the last bit where tokens are.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cores import numbers
from engines import EngineProcess, running
from generation_rate import sampled_prompts
from populations import prepare
from report import print_json, print_table

COLUMNS = ("precision", "cores", "order", "sequences differing", "tokens differing", "bits equal")


def main() -> None:
    """Measure every precision."""
    arguments = _arguments()
    prompts = sampled_prompts(arguments.prompts)
    rows: list[dict[str, Any]] = []
    for precision in arguments.precisions.split(","):
        rows += _measure(precision, prompts, arguments)
    print_table(
        COLUMNS,
        [
            [
                row["precision"], row["cores"], row["order"],
                f"{row['sequences_differing']} of {row['sequences']}",
                f"{row['tokens_differing']} of {row['tokens']}",
                f"{100 * row['bits_equal']:.2f} %",
            ]
            for row in rows
        ],
        f"{arguments.population} candidates x {arguments.prompts} prompts x "
        f"{arguments.new_tokens} tokens",
    )  # fmt: skip
    print_json("batch_invariance", rows=rows)


def _measure(
    precision: str, prompts: list[list[int]], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    pairs = [(n, prompt) for n in range(arguments.population) for prompt in prompts]
    orders = {
        "again": (list(range(len(pairs))), len(pairs)),
        "shuffled": (np.random.default_rng(0).permutation(len(pairs)).tolist(), len(pairs)),
        **{f"batches of {size}": (list(range(len(pairs))), size) for size in (1, 3, 8)},
    }
    with tempfile.TemporaryDirectory(prefix="essa-bench-") as folder:
        setup = prepare(
            Path(folder), precision, arguments.population, prefix_caching=True,
            prompt_tokens=max(map(len, prompts)), new_tokens=arguments.new_tokens,
        )  # fmt: skip
        with running([("population", setup, arguments.cores)]) as (engine,):
            together = _answers(engine, pairs, arguments.new_tokens, len(pairs))
            rows = []
            for name, (order, batch) in orders.items():
                found = _answers(engine, [pairs[i] for i in order], arguments.new_tokens, batch)
                answers = [found[order.index(i)] for i in range(len(pairs))]
                rows.append(
                    {"precision": precision, "cores": len(arguments.cores), "order": name}
                    | _difference(together, answers)
                )
    return rows


def _answers(engine: EngineProcess, pairs: list[Any], new_tokens: int, batch: int) -> list[Any]:
    return engine.turn("answers", pairs=pairs, new_tokens=new_tokens, batch=batch)["answers"]


def _difference(some: list[Any], others: list[Any]) -> dict[str, Any]:
    sequences = tokens = differing_sequences = differing_tokens = equal = bits = 0
    for (ids, logprobs), (other_ids, other_logprobs) in zip(some, others, strict=True):
        sequences += 1
        tokens += len(ids)
        same = sum(a == b for a, b in zip(ids, other_ids, strict=False))
        differing_tokens += len(ids) - same
        differing_sequences += ids != other_ids
        for a, b, one, other in zip(ids, other_ids, logprobs, other_logprobs, strict=False):
            if a != b:
                break
            equal += 1
            bits += one == other
    return {
        "sequences": sequences,
        "sequences_differing": differing_sequences,
        "tokens": tokens,
        "tokens_differing": differing_tokens,
        "bits_equal": round(bits / equal, 5),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precisions", default="bf16,int8,int4", help="bf16, int8 or int4")
    parser.add_argument("--population", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument(
        "--cores",
        type=numbers,
        default=[0],
        help="cores of the one engine, comma-separated (default 0)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
