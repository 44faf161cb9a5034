"""Evolution strategies: a search without gradients, for the reward or under constraints."""

from __future__ import annotations

from essa.coordinator.loop import Coordinator
from essa.objective.constrained import ConstrainedObjective
from essa.objective.objective import Objective
from essa.parametrize.basis import AdapterBasis
from essa.spec.constrained import ConstrainedSpec
from workers.cluster.pool import EnginePool
from workers.job.search_codec import search_codec
from workers.methods.base import Found, Method, Spec
from workers.warm_start.stage import WarmStartResult


class Evolution(Method[Spec]):
    """Searches singular values of the warm start, or with `search.target: weights` all weights."""

    def run(self, pool: EnginePool, basis: AdapterBasis, warm: WarmStartResult) -> Found:
        job = self.context.job
        codec = search_codec(job.spec, basis, warm.folder)
        what = "weights" if job.spec.moves_weights else "singular values"
        job.stage("search", f"searching {codec.dimension} {what}")
        with self.opened_run(pool, codec, warm) as run:
            outcome = Coordinator(run, self.evaluator(pool, codec)).run()
        return Found(codec, outcome)


class ConstrainedEvolution(Evolution[ConstrainedSpec]):
    """Maximises one component of the reward while holding others at thresholds."""

    def objective(self, dimension: int) -> Objective:
        job = self.context.job.spec
        return ConstrainedObjective(
            self.spec, dimension, job.budget.generations, job.evaluation.max_missing_frac
        )
