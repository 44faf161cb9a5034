"""The best of N answers of the warm start: nothing is searched or trained."""

from __future__ import annotations

from essa.coordinator.best_of_n import BestOfN, BestOfNCoordinator
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.parametrize.port import Codec
from essa.spec.best_of_n import BestOfNSpec
from workers.cluster.pool import EnginePool
from workers.methods.base import Found, Method
from workers.warm_start.stage import WarmStartResult


class BestOfNAnswers(Method[BestOfNSpec]):
    """Scores the warm start by the best of its sampled answers."""

    def evaluator(self, pool: EnginePool, codec: Codec) -> BestOfN:
        """Return an evaluator that scores the last vector by best-of-N, the others by `rollout`."""
        evaluator = self.context.evaluator(pool, codec)
        return BestOfN(evaluator, evaluator, self.spec, self.context.job.spec.seed)

    def run(self, pool: EnginePool, basis: AdapterBasis, warm: WarmStartResult) -> Found:
        codec = SingularValueCodec(basis)
        self.context.job.stage("search", f"sampling {self.spec.samples} answers to every prompt")
        with self.opened_run(pool, codec, warm) as run:
            outcome = BestOfNCoordinator(run, self.evaluator(pool, codec)).run()
        return Found(codec, outcome)
