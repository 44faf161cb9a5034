"""Controllers of the constrained mode on problems whose constrained optimum is known.

Everything but the model is the service's own: the objective of a constrained job, its controllers
and the search strategies. A component is a share of solved prompts: prompt p of component i is
solved where w_i x + c_i exceeds the prompt's hardness, standard normal and drawn afresh every
generation for a batch of 100 that all candidates share. Its expectation is Phi(w_i x + c_i). `0/1`
answers are solved or not; `graded` ones are a soft step in its place, with the same expectation.

equal    least ||x||^2 / 2 with two components (cosine 0.5, 0.24 at the start) at 0.6 and at 0.5
slack    the same with at least 0.6 and at least 0.3; the second holds by itself at the optimum
trade    most of one component with at least 0.5 of another (cosine -0.5), within a distance
idle     the same with at least 0.6, and a third component that always holds

Shown, for R at the distribution's mean, averaged over the last fifth of the generations and then
over seeds: `off`, the largest |R - threshold| of constraints active at the optimum, or violation of
others; `sd`, the largest standard deviation of R over these generations; the objective against the
optimum's. A distance counts as a share of its limit. A row is ok within 0.02 and 5 %. Last line:
one JSON object.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import print_json, print_table
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri

from essa.constrained.problem import ConstrainedProblem
from essa.objective.constrained import ConstrainedObjective
from essa.search.registry import make_search
from essa.spec.constrained import DISTANCE, ConstrainedSpec, ConstraintSpec
from essa.spec.search import OpenAiEsSpec, SearchSpec, SepCmaEsSpec, SnesSpec
from essa.types import FloatArray

BATCH, POPULATION = 100, 48
SIGMA_100 = 0.3
"""Initial step size at D = 100; others have the same length of a step."""
SOFTNESS = 0.5
"""Of graded answers, in the unit of hardness."""
NEAR, CLOSE = 0.02, 0.05
SHOWN_SHARE = 0.2

CONTROLLERS: dict[str, dict[str, Any]] = {
    "augmented_lagrangian": {"type": "augmented_lagrangian"},
    "augmented_lagrangian, adapted": {"type": "augmented_lagrangian", "adapt_penalty": True},
    "augmented_lagrangian, damping 20": {"type": "augmented_lagrangian", "damping": 20},
    "mu": {"type": "mu"},
    "mu, paper's mixing": {"type": "mu", "mixing": "paper"},
    "xi": {"type": "xi"},
    "exact_penalty": {"type": "exact_penalty"},
    "fixed_weights, all 1": {"type": "fixed_weights"},
}
LEARNING = ["augmented_lagrangian", "augmented_lagrangian, damping 20", "mu", "xi"]
SEARCHES: dict[str, SearchSpec] = {
    "sep_cma_es": SepCmaEsSpec(population=POPULATION),
    "snes": SnesSpec(population=POPULATION),
    # Its step size is fixed, so it needs small steps of the mean, and multipliers no faster.
    "openai_es": OpenAiEsSpec(population=POPULATION, learning_rate=0.02),
}


@dataclass(frozen=True)
class Synthetic:
    """See the module's text. Components are r0, r1 ..., `cost`, and `distance`.

    Attributes:
        axes: w as rows, unit length, shape (A, D).
        offsets: c, so that Phi(c) are the components at the start, shape (A,).
    """

    name: str
    is_graded: bool
    axes: FloatArray
    offsets: FloatArray
    objective: str
    constraints: tuple[ConstraintSpec, ...]

    @property
    def dimension(self) -> int:
        """D."""
        return self.axes.shape[1]

    @property
    def threshold_K(self) -> FloatArray:
        """Thresholds as written."""
        return np.array([one.threshold for one in self.constraints])

    def method(self, controller: dict[str, Any]) -> ConstrainedSpec:
        """The job's method with one of the controllers."""
        if controller["type"] == "fixed_weights":
            controller = controller | {"weights": [1.0] * len(self.constraints)}
        return ConstrainedSpec.model_validate(
            {
                "objective": self.objective,
                "constraints": self.constraints,
                "controller": controller,
            }
        )

    def scores(self, vectors_N_D: FloatArray, hardness_P_A: FloatArray) -> FloatArray:
        """Columns as a batch gives them, shape (N, J)."""
        reach = vectors_N_D @ self.axes.T + self.offsets
        pairs = zip(reach.T, hardness_P_A.T, strict=True)
        return self._columns(vectors_N_D, [self._share(*pair) for pair in pairs])

    def expected(self, vector_D: FloatArray) -> FloatArray:
        """Columns without noise, shape (J,)."""
        vector = vector_D[None, :]
        return self._columns(vector, ndtr(vector @ self.axes.T + self.offsets).T)[0]

    def optimum(self) -> FloatArray:
        """Columns at the constrained optimum, with constraints met to 1e-8.

        It lies in the span of the axes, since any other direction only adds distance.
        """
        span, _ = np.linalg.qr(self.axes.T)
        signs = np.array([-1.0 if one.direction == "<=" else 1.0 for one in self.constraints])
        kinds = ["eq" if one.direction == "=" else "ineq" for one in self.constraints]

        def room(y: FloatArray) -> FloatArray:
            return signs * (self.expected(span @ y)[1:] - self.threshold_K)

        found = minimize(
            lambda y: -self.expected(span @ y)[0],
            x0=0.5 * span.T @ self.axes.sum(axis=0),
            method="SLSQP",
            constraints=[
                {"type": kind, "fun": lambda y, k=k: room(y)[k]} for k, kind in enumerate(kinds)
            ],
            options={"ftol": 1e-14, "maxiter": 500},
        )
        left = zip(room(found.x), kinds, strict=True)
        worst = max(abs(value) if kind == "eq" else -value for value, kind in left)
        if worst > 1e-8:
            raise SystemExit(f"{self.name}: no optimum found: {found.message}, {worst:.1e} off")
        return self.expected(span @ found.x)

    def _share(self, reach_N: FloatArray, hardness_P: FloatArray) -> FloatArray:
        if not self.is_graded:
            return np.searchsorted(np.sort(hardness_P), reach_N) / len(hardness_P)
        # A soft step widens the expectation's own; the factor takes that back.
        wide_N = reach_N * np.sqrt(1 + SOFTNESS**2)
        return ndtr((wide_N[:, None] - hardness_P) / SOFTNESS).mean(axis=1)

    def _columns(self, vectors_N_D: FloatArray, shares: Sequence[FloatArray]) -> FloatArray:
        squares = (vectors_N_D**2).sum(axis=1)
        parts = {f"r{index}": share for index, share in enumerate(shares)}
        parts |= {"cost": -squares / 2, DISTANCE: np.sqrt(squares / self.dimension)}
        names = [self.objective, *(one.component for one in self.constraints)]
        return np.column_stack([parts[name] for name in names])


def synthetic(name: str, dimension: int, is_graded: bool) -> Synthetic:
    """One of the problems of the module's text; its axes are drawn from a fixed seed."""
    rng = np.random.default_rng(0)
    base, _ = np.linalg.qr(rng.normal(size=(dimension, 3)))
    is_trade = name in ("trade", "idle")
    cosine = -0.5 if is_trade else 0.5
    second = cosine * base[:, 0] + np.sqrt(1 - cosine**2) * base[:, 1]
    start = [0.3, 0.5, 0.5] if is_trade else [0.24, 0.24]
    near = ("distance", "<=", 1 / np.sqrt(dimension))
    rules = {
        "equal": [("r0", "=", 0.6), ("r1", "=", 0.5)],
        "slack": [("r0", ">=", 0.6), ("r1", ">=", 0.3)],
        "trade": [("r1", ">=", 0.5), near],
        "idle": [("r1", ">=", 0.6), ("r2", ">=", 0.1), near],
    }[name]
    return Synthetic(
        name=f"{name} {dimension} {'graded' if is_graded else '0/1'}",
        is_graded=is_graded,
        axes=np.stack([base[:, 0], second, base[:, 2]])[: len(start)],
        offsets=ndtri(start),
        objective="r0" if is_trade else "cost",
        constraints=tuple(
            ConstraintSpec(component=component, direction=direction, threshold=threshold)
            for component, direction, threshold in rules
        ),
    )


@dataclass(frozen=True)
class Trace:
    """One run: columns at the mean, step size and multipliers, generation by generation."""

    columns_G_J: FloatArray
    sigma_G: FloatArray
    multipliers_G_K: FloatArray


def run(
    problem: Synthetic, controller: dict[str, Any], search: SearchSpec, generations: int, seed: int
) -> Trace:
    """Search with the service's own parts."""
    method = problem.method(controller)
    sigma = float(SIGMA_100 * np.sqrt(100 / problem.dimension))
    strategy = make_search(method.searched_with(search, sigma), problem.dimension, sigma, seed)
    objective = ConstrainedObjective(method, problem.dimension, generations, 0.25)
    turned = ConstrainedProblem(method).turned
    rng = np.random.default_rng(1000 + seed)
    columns, sigmas, multipliers = [], [], []
    for _ in range(generations):
        hardness = rng.standard_normal((BATCH, len(problem.axes)))
        # The mean of the distribution comes last, on the same prompts.
        asked = np.vstack([strategy.ask(), strategy.mean])
        *means, mean = turned(problem.scores(asked, hardness))
        means, mean = np.array(means), mean if objective.measures_mean else None
        objective.observe(means, mean)
        strategy.tell(objective.fitness(means))
        objective.learn(means, mean)
        columns.append(problem.expected(strategy.mean))
        sigmas.append(strategy.sigma)
        multipliers.append([status.multiplier for status in objective.status()])
    return Trace(np.array(columns), np.array(sigmas), np.array(multipliers, dtype=float))


def judge(problem: Synthetic, traces: Sequence[Trace]) -> dict[str, Any]:
    """Figures of one row, over seeds."""
    best, limits = problem.optimum(), problem.threshold_K
    is_active = np.abs(best[1:] - limits) < 1e-6
    is_distance = np.array([one.component == DISTANCE for one in problem.constraints])
    signs, unit = np.where(is_distance, -1.0, 1.0), np.where(is_distance, limits, 1.0)
    off, spread, objective = [], [], []
    for trace in traces:
        late = trace.columns_G_J[-max(1, int(SHOWN_SHARE * len(trace.columns_G_J))) :]
        mean = late.mean(axis=0)
        missed = (mean[1:] - limits) / unit
        off.append(np.where(is_active, np.abs(missed), np.maximum(0, -signs * missed)).max())
        spread.append((late[:, 1:].std(axis=0) / unit).max())
        objective.append(mean[0] / best[0])
    share = float(np.mean(objective))
    return {
        "off": float(np.mean(off)),
        "worst_off": float(np.max(off)),
        "sd": float(np.mean(spread)),
        "objective": share,
        "is_ok": bool(np.mean(off) <= NEAR and abs(share - 1) <= CLOSE),
    }


def _fits(problem: Synthetic, controller: dict[str, Any]) -> bool:
    is_equal = problem.constraints[0].direction == "="
    return controller["type"] not in ({"mu"} if is_equal else {"xi"})


def _rows(
    problems: Sequence[Synthetic],
    names: Sequence[str],
    search: str,
    lengths: dict[int, int],
    seeds: int,
) -> list[dict[str, Any]]:
    rows = []
    for problem in problems:
        for name in names:
            if not _fits(problem, CONTROLLERS[name]):
                continue
            traces = [
                run(problem, CONTROLLERS[name], SEARCHES[search], lengths[problem.dimension], seed)
                for seed in range(seeds)
            ]
            found = judge(problem, traces)
            rows.append({"problem": problem.name, "controller": name, "search": search} | found)
    return rows


def _print(title: str, rows: Sequence[dict[str, Any]]) -> None:
    print_table(
        ["problem", "controller", "search", "off", "worst seed", "sd", "objective / optimum", "ok"],
        [
            [
                row["problem"], row["controller"], row["search"], row["off"], row["worst_off"],
                row["sd"], row["objective"], "yes" if row["is_ok"] else "no",
            ]
            for row in rows
        ],
        title,
    )  # fmt: skip


def _plot(path: Path, generations: int) -> None:
    """Components and multipliers of one run per controller on `equal` and `slack`, D = 100."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = [
        (synthetic(name, 100, False), label)
        for name in ("equal", "slack")
        for label, controller in CONTROLLERS.items()
        if _fits(synthetic(name, 100, False), controller)
    ]
    figure, axes = pyplot.subplots(
        len(cases), 2, figsize=(9, 2 * len(cases)), sharex=True, squeeze=False
    )
    for (problem, label), (left, right) in zip(cases, axes, strict=True):
        trace = run(problem, CONTROLLERS[label], SEARCHES["sep_cma_es"], generations, 0)
        for k, threshold in enumerate(problem.threshold_K):
            left.plot(trace.columns_G_J[:, k + 1], color=f"C{k}")
            left.axhline(threshold, color=f"C{k}", linestyle=":")
            right.plot(trace.multipliers_G_K[:, k], color=f"C{k}")
        left.set_ylim(0, 1)
        left.set_title(f"{problem.name}: {label}", fontsize=8)
        right.set_title("multipliers", fontsize=8)
    axes[-1, 0].set_xlabel("generation")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    """Run all controllers on all problems, then the default one under the other searches."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two problems, one seed, D = 100")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw trajectories, D = 100")
    arguments = parser.parse_args()
    seeds = 1 if arguments.quick else arguments.seeds
    lengths = {100: 300, 448: 1000}
    small = [synthetic(name, 100, False) for name in ("equal", "slack", "trade", "idle")]
    large = [] if arguments.quick else [synthetic(name, 448, True) for name in ("equal", "slack")]
    large += [] if arguments.quick else [synthetic("equal", 448, False)]
    problems = small[:2] if arguments.quick else small
    rows = _rows(problems, list(CONTROLLERS), "sep_cma_es", lengths, seeds)
    rows += _rows(large, ["augmented_lagrangian", "mu", "xi"], "sep_cma_es", lengths, seeds)
    _print("Controllers", rows)
    others = []
    if not arguments.quick:
        for search in ("snes", "openai_es"):
            others += _rows(small[:2], LEARNING, search, lengths, seeds)
        _print("Other searches", others)
    if arguments.plot:
        _plot(arguments.plot, lengths[100])
    print_json("constrained_synthetic", seeds=seeds, rows=rows + others)


if __name__ == "__main__":
    main()
