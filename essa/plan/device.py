"""Compute and memory throughput of one device, and the engine speed that follows from them.

A roofline model: weights are read once per step, keys and values once per step and sequence, and
every token is multiplied with every weight. The CPU core's figures come from measurements
(docs/ENGINES.md); the GPUs' figures are data sheets times an assumed efficiency, as no engine was
measured on a GPU. A measured rate or run (`essa/plan/measured.py`) replaces these figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from essa.plan.engine_speed import EngineSpeed
from essa.plan.shape import NAMED, ModelShape
from essa.spec.engine import Precision

GIB = 2**30
POPULATION_OVER_BASE = 0.95
"""Ratio of a population's tokens/s to those of the base alone (docs/ENGINES.md, The floor)."""
SWITCH_BYTES_PER_S = 84e6 / 0.121
"""Rate of loading a new population's table into an engine (docs/ENGINES.md, One generation)."""
EFFICIENCY = 0.5
"""Share of a GPU's data-sheet figures that decoding reaches; assumed."""


@dataclass(frozen=True)
class Device:
    """One GPU, or one CPU core.

    Attributes:
        flops_per_s: achieved FLOP/s by precision of the base; a multiply-add counts as two.
        bytes_per_s: achieved rate of reading from memory.
        memory_bytes: total memory.
        is_measured: False if the figures are assumed.
    """

    name: str
    flops_per_s: Mapping[Precision, float]
    bytes_per_s: float
    memory_bytes: float
    is_measured: bool = False

    def engine_speed(
        self,
        shape: ModelShape,
        precision: Precision,
        *,
        prompt_tokens: float,
        answer_tokens: float,
        devices: int = 1,
    ) -> EngineSpeed:
        """Return the speed of one engine over several devices, ignoring their communication."""
        token_s = 2 * shape.multiplied_parameters / self.flops_per_s[precision]
        # On average, a sequence is in the middle of its answer.
        context_bytes = shape.cache_bytes(prompt_tokens + answer_tokens / 2)
        return EngineSpeed(
            step_s=shape.weight_bytes(precision) / self.bytes_per_s,
            sequence_s=token_s + context_bytes / self.bytes_per_s,
            prompt_s=prompt_tokens * token_s,
        ).slower(1 / devices)

    def train_sample_s(self, shape: ModelShape, tokens: float, devices: int = 1) -> float:
        """Return the seconds of one sample's forward and backward passes for LoRA, in 16 bits.

        Counted are the forward pass, its recomputation for gradient checkpointing, and the
        gradients of activations; frozen weights need no gradient.
        """
        flops = 3 * 2 * shape.multiplied_parameters * tokens
        return flops / self.flops_per_s[Precision.BF16] / devices


MEASURED_SEQUENCES, MEASURED_PROMPT, MEASURED_ANSWER = 192, 40, 24
MEASURED_TOKENS_PER_S = {Precision.BF16: 596.0, Precision.INT8: 686.0, Precision.INT4: 283.0}
"""Throughput of a population of 96 over SmolLM2-135M on one core (docs/ENGINES.md, The floor)."""
BESIDE = {Precision.BF16: 1.63 / 2, Precision.INT8: 1.78 / 2}
"""Speed of an engine next to one on the machine's other core, relative to running alone, because
cores share memory bandwidth (docs/ENGINES.md, Two cores)."""

_CORE_BYTES_PER_S = 10e9
"""Memory bandwidth of a core; assumed. With 192 sequences, reading is a tenth of a step."""


def _core_flops(precision: Precision) -> float:
    """Return the FLOP/s at which the model reproduces the core's measured speed."""
    shape = NAMED["smollm2-135m"]
    reading = Device("", {precision: float("inf")}, _CORE_BYTES_PER_S, 0.0).engine_speed(
        shape, precision, prompt_tokens=MEASURED_PROMPT, answer_tokens=MEASURED_ANSWER
    )
    sample_s = MEASURED_ANSWER / MEASURED_TOKENS_PER_S[precision]
    left_s = sample_s - reading.sample_s(MEASURED_SEQUENCES, MEASURED_ANSWER)
    tokens = MEASURED_PROMPT + MEASURED_ANSWER
    return 2 * shape.multiplied_parameters * tokens / left_s


def _gpu(name: str, bf16: float, int8: float, bytes_per_s: float, gib: float) -> Device:
    reached = EFFICIENCY * POPULATION_OVER_BASE
    # W4A16 multiplies in 16 bits.
    flops = {Precision.BF16: bf16, Precision.INT8: int8, Precision.INT4: bf16}
    flops = {precision: reached * value for precision, value in flops.items()}
    return Device(name, flops, reached * bytes_per_s, gib * GIB)


DEVICES = {
    # Vendor's data sheets, SXM versions, dense: FLOP/s in BF16, operations/s in INT8, bytes/s, GiB.
    "h100": _gpu("h100", 989e12, 1979e12, 3.35e12, 80),
    "h200": _gpu("h200", 989e12, 1979e12, 4.8e12, 141),
    "a100": _gpu("a100", 312e12, 624e12, 2.04e12, 80),
    "cpu-core": Device(
        "cpu-core",
        {precision: _core_flops(precision) for precision in MEASURED_TOKENS_PER_S},
        _CORE_BYTES_PER_S,
        8 * GIB,
        is_measured=True,
    ),
}
