"""How a generation scales from 1 to 1,024 engines in simulation, and the paper's figures beside it.

The paper's scaling run: Qwen2.5-32B, rank 16, population 128, batch 256. Even answers on even
engines show what the cutting into work items costs; uneven answers, stragglers and failures come on
top, one after the other. Nothing is run; speeds are those of `essa plan`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from report import print_json, print_table

from essa.plan import paper
from essa.plan.device import DEVICES
from essa.plan.forecast import Setting, overhead_s, plan_essa, plan_grpo, plan_scaling
from essa.plan.made_up import made_up_slowness
from essa.plan.shape import NAMED
from essa.plan.simulation import Fleet
from essa.spec.engine import Precision

SPREAD = 0.5
SLOWNESS = made_up_slowness(0.03)
STRAGGLING = made_up_slowness(0.03, straggler_frac=0.01)
CASES: dict[str, tuple[float, dict[str, Any]]] = {
    "even": (0.0, {}),
    "uneven answers": (SPREAD, {}),
    "and engines": (SPREAD, {"slowness": SLOWNESS}),
    "and 1 % stragglers": (SPREAD, {"slowness": STRAGGLING}),
    "and a failure a day": (
        SPREAD, {"slowness": STRAGGLING, "failures_per_h": 1 / 24, "restart_s": 120.0},
    ),
}  # fmt: skip
"""Spread of answers' lengths, and what else is not even, by name."""


def main() -> None:
    """Print efficiencies by case, and the paper's two points."""
    arguments = _arguments()
    setting = paper_setting(Precision(arguments.precision))
    points = {name: scaled(setting, name, arguments.generations, arguments.seed) for name in CASES}
    print_table(
        ["engines", *(f"{name}, s" for name in ("even", "and a failure a day")), *CASES],
        [
            [
                even.engines,
                float(even.generation_s),
                float(points["and a failure a day"][row].generation_s),
                *(f"{of_case[row].efficiency:.2f}" for of_case in points.values()),
            ]
            for row, even in enumerate(points["even"])
        ],
        f"Seconds of a generation, and efficiency over one engine, {arguments.precision}",
    )
    found = paper_figures(setting)
    print_table(
        ["minutes to 0.835", *(f"{gpus} GPUs" for gpus in paper.GPUS), "speedup", "latency model"],
        [
            ["ESSA", 200, "<20", ">10", f"{found['essa_predicted']:.2f}"],
            ["GRPO, gradients of LoRA", 400, 150, "2.67", f"{found['grpo_predicted']:.2f}"],
            ["GRPO, of the whole model", 400, 150, "2.67", f"{found['grpo_full_predicted']:.2f}"],
        ],
        "The paper's figures",
    )
    print(
        "\nESSA's 10 times over 8 times the GPUs is super-linear: no division of work gives it. "
        f"GRPO's 2.67 times means a share of {found['grpo_fixed_frac']:.1%} at 16 GPUs that does "
        "not shrink."
    )
    print_json(
        "plan_scaling",
        precision=arguments.precision,
        cases={name: [point._asdict() for point in of_case] for name, of_case in points.items()},
        paper=found,
    )


def paper_setting(precision: Precision) -> Setting:
    """The paper's scaling run on the smaller number of its GPUs."""
    return Setting(
        shape=NAMED[paper.MODEL],
        device=DEVICES["h100"],
        gpus=paper.GPUS[0],
        precision=precision,
        rank=paper.RANK,
        population=paper.POPULATION,
        batch=paper.BATCH,
    )


def scaled(setting: Setting, case: str, generations: int, seed: int) -> list[Any]:
    """Points of one case."""
    spread, uneven = CASES[case]
    essa = plan_essa(setting)
    fleet = Fleet(essa.engine, essa.sequences, overhead_s=overhead_s(setting), **uneven)
    return plan_scaling(replace(setting, spread=spread), fleet, generations=generations, seed=seed)


def paper_figures(setting: Setting) -> dict[str, float]:
    """What the paper's two points imply, and what the latency model gives between them."""
    few, many = (replace(setting, gpus=gpus) for gpus in paper.GPUS)

    def speedup(of: Any) -> float:
        return of(few).iteration_s / of(many).iteration_s

    return {
        "essa_speedup": paper.scaling(paper.ESSA_MINUTES).speedup,
        "essa_predicted": speedup(plan_essa),
        "grpo_speedup": paper.scaling(paper.GRPO_MINUTES).speedup,
        "grpo_fixed_frac": paper.scaling(paper.GRPO_MINUTES).fixed_frac,
        "grpo_predicted": speedup(plan_grpo),
        "grpo_full_predicted": speedup(lambda one: plan_grpo(one, is_full_model=True)),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", default="bf16", choices=["bf16", "int8", "int4"])
    parser.add_argument("--generations", type=int, default=10, help="simulated of each size")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
