"""Plan and start the pool of engines of a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from essa.errors import SpecError
from essa.number_format import Activations
from essa.parametrize.port import Layout
from essa.ports import Say
from essa.spec import AlignmentJobSpec
from essa.spec.engine import EngineSpec, Precision, QuantizationSpec
from essa.spec.search import SearchSpec
from workers.cluster.placement import Node, Placement, plan_placement
from workers.cluster.pool import EnginePool
from workers.engines.build import EngineBuild, settled_precision
from workers.models.store import ModelStore, PreparedModel

GATE_CANDIDATES = 2
"""Minimum number of candidates that engines must hold: the gate uses this many."""


@dataclass(frozen=True)
class EnginePlan:
    """Engines of a pool, and the checkpoint that they load."""

    spec: EngineSpec
    model_folder: Path
    model_digest: str
    activations: Activations

    @property
    def precision(self) -> Precision:
        """Precision of the base; never `auto`."""
        return settled_precision(self.spec)


def plan_engines(
    store: ModelStore,
    base: PreparedModel,
    spec: EngineSpec,
    activations: Activations,
    texts: Callable[[], Sequence[str]],
    say: Callable[[str], None],
) -> EnginePlan:
    """Find or make the checkpoint in the engine's precision.

    Args:
        texts: returns the calibration texts; called only if the quantisation needs any.
    Raises:
        SpecError: the model cannot be quantised that way.
    """
    folder = base.folder
    if not spec.quantizes_on_load:
        precision, settings = settled_precision(spec), spec.quantization or QuantizationSpec()
        folder = store.quantized(
            base,
            precision,
            say,
            settings=settings,
            texts=texts() if settings.is_calibrated else (),
        )
        if precision is Precision.BF16 and activations == "float32":
            # Otherwise the engine would use the stored weights in their full, higher precision.
            folder = store.rounded(base, say)
    digest = base.digest if folder == base.folder else store.digest(folder)
    return EnginePlan(spec, folder, digest, activations)


def engine_placements(
    job: AlignmentJobSpec, plan: EnginePlan, nodes: Sequence[Node]
) -> list[Placement]:
    """Return the placements of the engines.

    Raises:
        SpecError: the cluster is too small, or does not support what the job requires.
    """
    placements = plan_placement(plan.spec, nodes)
    _check_invariance(job, plan, placements)
    return placements


def start_pool(
    job: AlignmentJobSpec,
    plan: EnginePlan,
    nodes: Sequence[Node],
    layout: Layout,
    *,
    say: Say,
    warn: Callable[[str], None],
) -> EnginePool:
    """Start the engines; blocks until every model is loaded.

    Args:
        layout: layout of the codec whose loads the engines will receive.
    Raises:
        SpecError: the cluster is too small, or does not support what the job requires.
        EngineStartError: an engine did not start.
    """
    placements = engine_placements(job, plan, nodes)
    build = EngineBuild(
        spec=plan.spec,
        model_path=str(plan.model_folder),
        max_population=max(layout.slots(_most_candidates(job.search)), GATE_CANDIDATES),
        rank=layout.rank,
        target_modules=layout.modules,
        has_core=layout.has_core,
        seed=job.seed,
        activations=plan.activations,
    )
    text = (
        f"starting {plan.spec.kind} engines, {plan.spec.precision} weights, "
        f"{plan.activations} activations"
    )
    say(text, 0, len(placements))
    pool = EnginePool(build, placements, notify=warn)
    pool.start(lambda started: say(text, started, len(placements)))
    return pool


def _most_candidates(search: SearchSpec) -> int:
    ladder = search.ladder.candidates + 1 if search.sigma_init == "auto" else 0
    return max(search.population, ladder)


def _check_invariance(
    job: AlignmentJobSpec, plan: EnginePlan, placements: Sequence[Placement]
) -> None:
    """Check batch invariance on the actual machines, which the specification cannot know."""
    if not job.rollout.batch_invariant:
        return
    if plan.activations == "float32":
        raise SpecError(
            "rollout.batch_invariant is true but this machine computes with float32 activations, "
            "whose products are summed in an order that depends on the size of the batch; use a "
            "CPU with bfloat16, or remove rollout.batch_invariant",
            field="rollout.batch_invariant",
        )
    for placement in placements:
        if placement.gpus or len(placement.cores) != 1:
            where = "a GPU" if placement.gpus else f"{len(placement.cores)} cores"
            raise SpecError(
                f"rollout.batch_invariant is true but an engine gets {where}; it needs one CPU "
                "core per engine: set engine.cores_per_worker to 1, or remove "
                "rollout.batch_invariant",
                field="rollout.batch_invariant",
            )
