"""The coordinator's share of a generation: everything but rollouts and reward.

Runs real generations of the coordinator's loop at the paper's size (population 96, d = 1,792)
against an evaluator that only translates vectors to scales, as every evaluator must, and returns
made-up rewards and texts. What is timed: ask, scales, shaping, reliability, tell, checkpoint to
disk, events, and handing records over. `--rollouts` records as a job does, in a thread whose
processor time is told beside it. Last line: one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from essa.coordinator.loop import Coordinator
from essa.coordinator.run import Outlets, Run, Space, Start
from essa.data import JobData
from essa.events import Event, GenerationEvent
from essa.objective.normalized import reward_objective
from essa.parametrize.adapter import LoraAdapter, LoraModule
from essa.parametrize.basis import AdapterBasis
from essa.parametrize.codec import SingularValueCodec
from essa.ports import Evaluator, EventSink, Recorder
from essa.records.recorder import RunRecorder
from essa.spec import AlignmentJobSpec
from essa.types import FloatArray, PopulationScores, Row, WorkSpan

REFERENCE_S = 10.0
"""Length of the generation that the share is stated for."""
_ANSWER_WORDS = 60


def main() -> None:
    """Time the coordinator and print its share of a ten-second generation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population", type=int, default=96)
    parser.add_argument("--layers", type=int, default=28, help="d = layers x 4 x 16")
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--generations", type=int, default=30)
    parser.add_argument("--strategy", default="sep_cma_es")
    parser.add_argument("--rollouts", choices=["off", "none", "sampled", "all"], default="off")
    parser.add_argument("--rollout-s", type=float, default=0.0, help="length of rollouts")
    arguments = parser.parse_args()
    codec = _codec(arguments.layers)
    rows = tuple(Row(index, f"prompt {index}", {}) for index in range(4 * arguments.prompts))
    spec = AlignmentJobSpec.model_validate(
        {
            "model": {"path": "none"},
            "data": {"train": {"path": "none"}},
            "reward": {"type": "sentiment"},
            "search": {
                "type": arguments.strategy,
                "population": arguments.population,
                "sigma_init": 1.0,
            },
            "batch_size": arguments.prompts,
            "budget": {"generations": arguments.generations},
            "evaluation": {"every": arguments.generations}
            | ({} if arguments.rollouts == "off" else {"rollouts": arguments.rollouts}),
        }
    )
    sink = _Collector()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        recorder = Recorder()
        if arguments.rollouts != "off":
            recorder = stack.enter_context(RunRecorder(Path(folder), spec.evaluation))
        run = Run(
            spec,
            reward_objective(spec),
            JobData(rows, rows[:2], rows[:2]),
            Outlets(sink, recorder),
            Space(codec.dimension, codec.basis.digest),
            Start(Path(folder) / "search.ckpt"),
        )
        Coordinator(run, _MadeUpEvaluator(codec, arguments.rollout_s)).run()
        stack.close()
        kept_bytes = sum(path.stat().st_size for path in Path(folder).glob("rollouts/train-*"))
    seconds = [event.coordinator_s for event in sink.generations[1:]]
    median, worst = statistics.median(seconds), max(seconds)
    writing_s = getattr(recorder, "cpu_s", 0.0) / arguments.generations
    print(
        f"{'strategy':<14}{'population':>11}{'d':>7}{'median ms':>11}{'worst ms':>10}{'share':>9}"
        f"{'writing ms':>12}{'KB kept':>9}"
    )
    print(
        f"{arguments.strategy:<14}{arguments.population:>11}{codec.dimension:>7}"
        f"{1e3 * median:>11.1f}{1e3 * worst:>10.1f}{median / REFERENCE_S:>9.3%}"
        f"{1e3 * writing_s:>12.1f}{kept_bytes / arguments.generations / 1e3:>9.0f}"
    )
    print(
        json.dumps(
            {
                "benchmark": "coordinator_share",
                "strategy": arguments.strategy,
                "population": arguments.population,
                "dimension": codec.dimension,
                "rollouts": arguments.rollouts,
                "writing_cpu_s": writing_s,
                "kept_bytes": kept_bytes / arguments.generations,
                "median_s": median,
                "worst_s": worst,
                "share_of_10_s": median / REFERENCE_S,
            }
        )
    )


class _MadeUpEvaluator(Evaluator):
    def __init__(self, codec: SingularValueCodec, rollout_s: float) -> None:
        self._codec = codec
        self._rollout_s = rollout_s
        self._rng = np.random.default_rng(0)

    def evaluate(
        self,
        vectors_N_D: FloatArray,
        rows: Sequence[Row],
        *,
        groups: int = 1,
        with_base: bool = False,
        label: str = "",
    ) -> PopulationScores:
        self._codec.scales(vectors_N_D)
        count = len(vectors_N_D) + with_base
        rewards = self._rng.normal(size=(count, len(rows)))
        began_s = time.monotonic()
        words = self._rng.integers(10_000, size=(count, len(rows), _ANSWER_WORDS)).tolist()
        texts = [[" ".join(map(str, answer)) for answer in row] for row in words]
        time.sleep(self._rollout_s)
        rollout_s = time.monotonic() - began_s
        spans = tuple(
            WorkSpan(number % 8, 0.0, rollout_s, (number % count,), 100) for number in range(64)
        )
        components: dict[str, FloatArray] = dict.fromkeys(("first", "second"), rewards / 2)
        return PopulationScores(
            rewards, components, texts, 0, 0, rollout_s=rollout_s, reward_s=0.0, spans=spans
        )


class _Collector(EventSink):
    def __init__(self) -> None:
        self.generations: list[GenerationEvent] = []

    def emit(self, event: Event) -> None:
        if isinstance(event, GenerationEvent):
            self.generations.append(event)


def _codec(layers: int) -> SingularValueCodec:
    rng = np.random.default_rng(0)
    modules = tuple(
        LoraModule(
            f"model.layers.{layer}.self_attn.{name}",
            rng.normal(size=(8, 64)).astype(np.float32),
            rng.normal(size=(64, 8)).astype(np.float32),
            2.0,
        )
        for layer in range(layers)
        for name in ("q_proj", "k_proj", "v_proj", "o_proj")
    )
    adapter = LoraAdapter(modules, {"peft_type": "LORA", "r": 8, "lora_alpha": 16})
    return SingularValueCodec(AdapterBasis.decompose(adapter, "factors", 1.0))


if __name__ == "__main__":
    main()
