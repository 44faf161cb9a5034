"""`essa plan`."""

from __future__ import annotations

from dataclasses import replace
from json import dumps
from typing import TYPE_CHECKING, Any

from alignment_api.cli.flags import Home
from alignment_api.cli.plan_flags import PlanFlags
from essa.plan import paper

if TYPE_CHECKING:
    from essa.plan.forecast import Method, ScalingPoint, Setting

_USUAL = PlanFlags()


def run(*, flags: PlanFlags = _USUAL, home: Home = None) -> int:
    """Predict time, memory and scaling of a search, compared with GRPO; nothing is run."""
    from alignment_api.cli.plan_setting import (
        fleet_of,
        measured_engines,
        measured_setting,
        setting_of,
    )
    from alignment_api.cli.terminal.plan_tables import show_costs, show_paper, show_scaling
    from essa.plan.forecast import plan_essa, plan_grpo, plan_scaling

    setting = setting_of(flags, home)
    measured = None
    if flags.timeline is not None:
        measured = measured_engines(flags.timeline, setting)
        setting = measured_setting(setting, measured)
    essa, grpo = plan_essa(setting), plan_grpo(setting)
    full = plan_grpo(setting, is_full_model=True)
    fleet = fleet_of(flags, setting, essa.sequences, essa.engine, measured)
    points = plan_scaling(setting, fleet, generations=flags.generations, seed=flags.seed)
    at_paper = _paper_methods(setting) if flags.paper else {}
    if flags.json:
        found = _costs(setting, essa, grpo, full)
        found["scaling"] = [point._asdict() for point in points]
        if measured:
            found["measured"] = {
                "speed": measured.speed._asdict(),
                "residual": measured.residual,
                "engine_works": len(measured.slowness),
            }
        if at_paper:
            found["paper"] = _paper(points, at_paper, essa.gpus_needed)
        print(dumps(found, indent=2))
        return 0
    show_costs(setting, essa, grpo, full, measured)
    show_scaling(points, essa.gpus_needed)
    if at_paper:
        show_paper(_paper(points, at_paper, essa.gpus_needed))
    return 0


def _costs(setting: Setting, essa: Method, grpo: Method, full: Method) -> dict[str, Any]:
    from essa.plan.forecast import table_bytes

    return {
        "dimension": setting.dimension,
        "parameters": setting.shape.parameters,
        "essa": _method(essa) | {"table_bytes": table_bytes(setting)},
        "grpo": _method(grpo),
        "grpo_full_gradients": _method(full),
    }


def _method(method: Method) -> dict[str, Any]:
    found = method._asdict()
    found["engine"] = method.engine._asdict()
    return found | {"memory_bytes_per_gpu": sum(method.memory.values())}


def _paper_methods(setting: Setting) -> dict[str, list[Method]]:
    """Return each method's cost on the paper's two numbers of GPUs."""
    from essa.plan.forecast import plan_essa, plan_grpo

    few, many = (replace(setting, gpus=gpus) for gpus in paper.GPUS)
    return {
        "essa": [plan_essa(few), plan_essa(many)],
        "grpo": [plan_grpo(few), plan_grpo(many)],
        "grpo_full_gradients": [plan_grpo(one, is_full_model=True) for one in (few, many)],
    }


def _paper(
    points: list[ScalingPoint], methods: dict[str, list[Method]], gpus_per_engine: int
) -> dict[str, Any]:
    seconds = {point.engines * gpus_per_engine: point.generation_s for point in points}
    few, many = (seconds.get(gpus) for gpus in paper.GPUS)
    essa, grpo = paper.scaling(paper.ESSA_MINUTES), paper.scaling(paper.GRPO_MINUTES)
    return {
        "gpus": paper.GPUS,
        "essa_minutes": paper.ESSA_MINUTES,
        "grpo_minutes": paper.GRPO_MINUTES,
        "essa": essa._asdict(),
        "grpo": grpo._asdict(),
        "predicted_speedup": {
            name: two[0].iteration_s / two[1].iteration_s for name, two in methods.items()
        },
        "predicted_fixed_frac": {
            name: two[0].exchange_s / two[0].iteration_s for name, two in methods.items()
        },
        "simulated_s": [few, many],
        "simulated_speedup": few / many if few and many else None,
    }
