"""What log-probabilities under the base cost: rewards `reference_logprob` and `kl`.

A generation's answers are scored by the base in one pass over prompt and answer. Shown is that pass
as a share of the rollouts it comes on top of, turn by turn on one core.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from engines import running
from populations import prepare
from report import median, print_json, print_table, ratio, shown_ratio


def main() -> None:
    """Measure every precision."""
    arguments = _arguments()
    rows = [_measure(precision, arguments) for precision in arguments.precisions.split(",")]
    print_table(
        ["base", "rollouts s", "scoring s", "/ rollouts"],
        [
            [row["precision"], row["rollouts_s"], row["scoring_s"], shown_ratio(row["share"])]
            for row in rows
        ],
        f"{arguments.population} candidates x {arguments.prompts} prompts, "
        f"{arguments.prompt_tokens} + {arguments.new_tokens} tokens",
    )
    print_json("reference_scoring", rows=rows)


def _measure(precision: str, arguments: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shape = (arguments.prompts, arguments.prompt_tokens)
    prompts = rng.integers(1000, 20000, size=shape).tolist()
    seconds: dict[str, list[float]] = {"rollouts": [], "scoring": []}
    with tempfile.TemporaryDirectory(prefix="essa-bench-") as folder:
        setup = prepare(
            Path(folder), precision, arguments.population, prefix_caching=True,
            new_tokens=arguments.new_tokens,
        )  # fmt: skip
        with running([("population", setup, [arguments.core])]) as (engine,):
            for turn in range(-1, arguments.turns):
                work = {"seed": turn + 1, "prompts": prompts, "new_tokens": arguments.new_tokens}
                found = {
                    "rollouts": engine.turn("generation", **work)["seconds"],
                    "scoring": engine.turn("score")["seconds"],
                }
                if turn >= 0:  # the first warms up
                    for name, value in found.items():
                        seconds[name].append(value)
    return {
        "precision": precision,
        "rollouts_s": median(seconds["rollouts"]),
        "scoring_s": median(seconds["scoring"]),
        "share": ratio(seconds["scoring"], seconds["rollouts"]),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precisions", default="int8", help="comma-separated: bf16, int8, int4")
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--prompt-tokens", type=int, default=40)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--core", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
