"""The simulator of `essa plan` against one and two real engines.

A pool of one engine does populations of several shapes; the latency model is fitted to its
timeline. It then predicts (1) the same engine on a batch that it was not fitted to, and (2) two
engines, one a core. Both are measured: real pool, real engines, the demo job's shape, answers that
end where they end. Lengths of answers are drawn from the fitted run, never taken from what is
predicted.

Two engines on one machine share its memory, which the simulation of a cluster knows nothing of;
`beside` is what docs/ENGINES.md measured of it. Ratios are given with and without. Last line: one
JSON object.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from generation_rate import JOB, sampled_prompts
from populations import prepare
from report import print_json, print_table

from essa.dispatch import plan_blocks
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.plan.device import BESIDE
from essa.plan.measured import EngineWork, MeasuredEngines, fit_speed
from essa.plan.simulation import Fleet, simulate
from essa.spec import Precision, VllmEngineSpec
from essa.spec.reading.file import load_job_file

FITTED = ((1.0, 1.0), (0.5, 1.0), (0.25, 0.5), (0.1, 0.34))
"""Shares of the job's population and batch that the model is fitted to: full batches and tails."""
OTHER = (1.0, 0.67)
"""Those of the batch that is predicted for one engine."""


class Shape(NamedTuple):
    """Candidates and prompts of a generation."""

    population: int
    batch: int


class Turn(NamedTuple):
    """One generation of a real pool: its seconds, and what engine 0 did."""

    seconds: float
    work: EngineWork


def main() -> None:
    """Fit, predict, measure."""
    arguments = _arguments()
    job = load_job_file(JOB / "job.yaml")
    whole = Shape(job.search.population, job.batch_size)
    fitted = [part_of(whole, share) for share in FITTED]
    other = part_of(whole, OTHER)
    precision = Precision(arguments.precision)
    spec = VllmEngineSpec(precision=precision, max_model_len=256, gate=False)
    with tempfile.TemporaryDirectory(prefix="essa-bench-") as folder:
        setup = prepare(Path(folder), arguments.precision, whole.population)
        prompts = [tuple(ids) for ids in sampled_prompts(whole.batch)]
        run = _Runner(setup, prompts, job.rollout.max_tokens, arguments.turns)
        with run.pool(spec, 1) as pool:
            turns = [turn for shape in fitted for turn in run.turns(pool, shape)]
            measured = {
                "one engine": run.seconds(pool, whole),
                "one engine, another batch": run.seconds(pool, other),
            }
        with run.pool(spec, 2) as pool:
            measured["two engines"] = run.seconds(pool, whole)
    fit = fit_speed([turn.work for turn in turns], spec.max_num_seqs)
    beside = arguments.beside or BESIDE.get(precision, 1.0)
    rows = [
        compared("one engine", measured, fit, spec.max_num_seqs, 1, whole),
        compared("one engine, another batch", measured, fit, spec.max_num_seqs, 1, other),
        compared("two engines", measured, fit, spec.max_num_seqs, 2, whole, beside=beside),
    ]
    print_table(
        ["", "candidates", "prompts", "measured s", "predicted s", "ratio", "memory not shared"],
        [
            [
                row["case"], row["population"], row["batch"], row["measured_s"],
                row["predicted_s"], f"{row['ratio']:.3f}", f"{row['ratio_alone']:.3f}",
            ]
            for row in rows
        ],
        f"Simulated over measured, {arguments.precision}; the fit meets its turns within "
        f"{fit.residual:.1%}",
    )  # fmt: skip
    print_json(
        "plan_against_engines",
        precision=arguments.precision,
        speed=fit.speed._asdict(),
        residual=fit.residual,
        beside=beside,
        rows=rows,
        within_10_percent=all(abs(row["ratio"] - 1) <= 0.1 for row in rows),
    )


def part_of(whole: Shape, shares: tuple[float, float]) -> Shape:
    """Shares of the candidates and the prompts, one at least."""
    population, batch = (max(1, round(a * b)) for a, b in zip(whole, shares, strict=True))
    return Shape(population, batch)


def compared(
    case: str,
    measured: dict[str, list[float]],
    fit: MeasuredEngines,
    capacity: int,
    engines: int,
    shape: Shape,
    *,
    beside: float = 1.0,
) -> dict[str, Any]:
    """Prediction over measurement of one case.

    Args:
        measured: seconds of turns, by case.
        beside: speed of an engine beside another one, over alone.
    """
    alone_s = predicted_s(fit, capacity, engines, shape)
    shared_s = predicted_s(fit, capacity, engines, shape, slower=1 / beside)
    seconds = statistics.median(measured[case])
    return {
        "case": case,
        "engines": engines,
        "population": shape.population,
        "batch": shape.batch,
        "measured_s": seconds,
        "predicted_s": shared_s,
        "ratio": shared_s / seconds,
        "ratio_alone": alone_s / seconds,
    }


def predicted_s(
    fit: MeasuredEngines, capacity: int, engines: int, shape: Shape, slower: float = 1.0
) -> float:
    """Median of simulated generations."""
    fleet = Fleet(fit.speed.slower(slower), capacity, slowness=fit.slowness)
    found = simulate(
        fleet,
        engines,
        population=shape.population,
        batch=shape.batch,
        lengths=fit.lengths,
        generations=25,
    )
    return float(np.median(found.seconds))


class _Runner:
    """Generations on real pools."""

    def __init__(
        self, setup: Any, prompts: Sequence[tuple[int, ...]], max_tokens: int, turns: int
    ) -> None:
        self._setup, self._prompts, self._turns = setup, prompts, turns
        self._max_tokens = max_tokens
        self._codec = SingularValueCodec(AdapterBasis.load(Path(setup.folder, "basis.safetensors")))
        self._vectors = np.load(Path(setup.folder, "vectors.npy"))

    @contextmanager
    def pool(self, spec: VllmEngineSpec, engines: int) -> Iterator[Any]:
        """A pool of so many engines of one core each, loaded and warm."""
        from workers.cluster.placement import plan_placement
        from workers.cluster.pool import EnginePool
        from workers.cluster.ray_cluster import ray_cluster
        from workers.engines.build import EngineBuild

        spec = spec.model_copy(update={"workers": engines, "cores_per_worker": 1})
        build = EngineBuild(
            spec=spec,
            model_path=self._setup.model,
            max_population=self._setup.population,
            rank=self._setup.rank,
            target_modules=tuple(self._setup.targets),
            has_core=True,
            seed=0,
        )
        with ray_cluster() as nodes:
            pool = EnginePool(build, plan_placement(spec, nodes))
            try:
                pool.start()
                pool.load_basis(self._codec.engine_basis())
                self._turn(pool, Shape(self._setup.population, len(self._prompts)))
                yield pool
            finally:
                pool.close()

    def turns(self, pool: Any, shape: Shape) -> list[Turn]:
        """Several generations of one shape."""
        return [self._turn(pool, shape) for _ in range(self._turns)]

    def seconds(self, pool: Any, shape: Shape) -> list[float]:
        """Those of `turns`."""
        return [turn.seconds for turn in self.turns(pool, shape)]

    def _turn(self, pool: Any, shape: Shape) -> Turn:
        from workers.engines.base import SamplingParameters
        from workers.evaluation.work_items import work_items

        pool.set_population(self._codec.scales(self._vectors[: shape.population]))
        blocks = plan_blocks(
            range(shape.population), shape.batch, engines=pool.size, capacity=pool.capacity
        )
        items = work_items(
            [(block,) for block in blocks],
            self._prompts[: shape.batch],
            SamplingParameters(self._max_tokens),
        )
        began_s = time.monotonic()
        results = list(pool.run(items))
        seconds = time.monotonic() - began_s
        failed = [result.error for result in results if result.completions is None]
        if failed:
            raise SystemExit(f"an engine failed: {failed[0]}")
        return Turn(seconds, engine_work(results, seconds))


def engine_work(results: Sequence[Any], seconds: float) -> EngineWork:
    """What engine 0 did: lengths of its items' answers, in the order it was given them."""
    own = sorted((one for one in results if one.engine == 0), key=lambda one: one.item.key)
    return EngineWork(
        tuple(tuple(max(1, len(answer.token_ids)) for (answer,) in one.completions) for one in own),
        seconds,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", default="int8", choices=["bf16", "int8", "int4"])
    parser.add_argument("--turns", type=int, default=3, help="generations of each shape")
    parser.add_argument("--beside", type=float, help="speed beside another engine, over alone")
    return parser.parse_args()


if __name__ == "__main__":
    main()
