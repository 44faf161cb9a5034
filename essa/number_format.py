"""Which number formats a machine computes in, and which of them a job takes. Pure decisions.

What a machine can do is measured elsewhere: one product of the same size in every format, against
float32. A format that the processor lacks is emulated by software, and then is slower than float32
although it holds fewer bits: bfloat16 on a CPU without AVX-512 by a factor of 5 to 35 (measured).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from essa.errors import SpecError
from essa.spec.engine import EngineSpec, Precision

FAST_SHARE = 0.8
"""A format is fast from this share of float32's speed on the same product."""

Activations = Literal["float32", "bfloat16"]
"""In which format the values between layers are, and the adapters' products."""


class NumberFormat(StrEnum):
    """Weights and, after the underscore, activations where they differ."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8_FLOAT32 = "int8_float32"
    INT8_BFLOAT16 = "int8_bfloat16"
    INT4_FLOAT32 = "int4_float32"
    INT4_BFLOAT16 = "int4_bfloat16"


class FormatStatus(StrEnum):
    """What becomes of a product in a format."""

    FAST = "fast"
    EMULATED = "emulated"
    IMPOSSIBLE = "impossible"


class FormatSpeed(BaseModel):
    """One format on one machine."""

    model_config = ConfigDict(frozen=True)

    format: NumberFormat
    status: FormatStatus
    gflops: float | None = None
    """Thousand million operations a second, on one core of a CPU; None where nothing ran."""


class MachineFormats(BaseModel):
    """What one machine, or the slowest node of a cluster, does in every format."""

    model_config = ConfigDict(frozen=True)

    device: Literal["cpu", "cuda"]
    formats: tuple[FormatSpeed, ...]

    def __getitem__(self, wanted: NumberFormat) -> FormatSpeed:
        return next(one for one in self.formats if one.format is wanted)

    def activations(self, precision: Precision) -> Activations:
        """Format of the activations over a base in this precision.

        Raises:
            SpecError: no product of such weights can be computed here.
        """
        if precision is Precision.FP32:
            return "float32"
        is_native = self[NumberFormat.BFLOAT16].status is FormatStatus.FAST
        order: tuple[Activations, ...] = (
            ("bfloat16", "float32") if is_native else ("float32", "bfloat16")
        )
        for activations in order:
            if self[product_format(precision, activations)].status is not FormatStatus.IMPOSSIBLE:
                return activations
        raise SpecError(
            f"engine.precision is {precision}, and this {'GPU' if self.is_gpu else 'CPU'} has no "
            f"product of {precision} weights in vLLM; set it to auto, which takes "
            f"{self.fastest()} here",
            field="engine.precision",
        )

    def fastest(self, fits: Callable[[Precision], bool] = lambda precision: True) -> Precision:
        """The precision whose products are fastest, of those whose base fits into memory.

        Where no speed was measured, or none fits: the first of bf16, int8 and int4 that fits, and
        the smallest possible one.
        """
        possible = [one for one in (Precision.BF16, Precision.INT8, Precision.INT4)
                    if self._is_possible(one)]  # fmt: skip
        fitting = [one for one in possible if fits(one)] or possible[-1:]
        return max(fitting, key=self._gflops)

    @property
    def is_gpu(self) -> bool:
        """Whether products run on a GPU."""
        return self.device == "cuda"

    @property
    def training(self) -> Activations:
        """Format that weights are trained in: no slower one than float32."""
        status = self[NumberFormat.BFLOAT16].status
        return "bfloat16" if status is FormatStatus.FAST else "float32"

    def _is_possible(self, precision: Precision) -> bool:
        return any(
            self[product_format(precision, one)].status is not FormatStatus.IMPOSSIBLE
            for one in ("float32", "bfloat16")
        )

    def _gflops(self, precision: Precision) -> float:
        return self[product_format(precision, self.activations(precision))].gflops or 0.0


class ChosenFormats(BaseModel):
    """What a run computes in, decided at its first start and kept when it is resumed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    precision: Precision
    """Of the base under the search."""
    activations: Activations
    serving: Precision
    """Of the base that the result is tested on for those who will serve it."""
    serving_activations: Activations
    training: Activations
    """Of the weights that gradients go through."""
    device: Literal["cpu", "cuda"]


def product_format(precision: Precision, activations: Activations) -> NumberFormat:
    """The format of a product with weights in a precision."""
    if precision in (Precision.FP32, Precision.BF16):
        # bf16 weights under float32 activations are widened once, when they are loaded.
        return NumberFormat(activations)
    return NumberFormat(f"{precision}_{activations}")


def choose_formats(
    engine: EngineSpec,
    serving: Precision,
    machine: MachineFormats,
    fits: Callable[[Precision], bool],
) -> ChosenFormats:
    """Decide what a job computes in.

    Args:
        engine: its `precision` may be `auto`.
        serving: precision of the base that is served.
        machine: what every machine of the job can do.
        fits: whether a base in a precision fits into memory.
    Raises:
        SpecError: a precision that was asked for cannot be computed here.
    """
    precision = engine.precision
    if precision == "auto":
        precision = (
            machine.fastest(fits)
            if not engine.quantizes_on_load
            # bitsandbytes' integers save memory on a CPU, not time.
            else next(filter(fits, (Precision.BF16, Precision.INT8)), Precision.INT4)
        )
    if engine.quantizes_on_load:
        # bitsandbytes' products run in either format.
        same = machine.training
        activations = serving_activations = same
        if precision is Precision.FP32:
            activations = "float32"
        if serving is Precision.FP32:
            serving_activations = "float32"
    else:
        activations, serving_activations = map(machine.activations, (precision, serving))
    return ChosenFormats(
        precision=precision,
        activations=activations,
        serving=serving,
        serving_activations=serving_activations,
        training=machine.training,
        device=machine.device,
    )


def slowest(machines: Iterable[MachineFormats]) -> MachineFormats:
    """What holds on every one of several machines: the worst status and the least speed of each."""
    machines = list(machines)
    order = [FormatStatus.FAST, FormatStatus.EMULATED, FormatStatus.IMPOSSIBLE]
    return MachineFormats(
        device="cuda" if all(one.is_gpu for one in machines) else "cpu",
        formats=tuple(
            FormatSpeed(
                format=wanted,
                status=max((one[wanted].status for one in machines), key=order.index),
                gflops=min(one[wanted].gflops or 0.0 for one in machines) or None,
            )
            for wanted in NumberFormat
        ),
    )
