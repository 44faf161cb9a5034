"""Number formats that a machine supports, and the choice of those that a job uses. Pure decisions.

Speeds are measured elsewhere: one matrix product of the same size in every format, compared with
float32. A format that the processor lacks is emulated in software, and is then slower than float32
despite its fewer bits: bfloat16 on a CPU without AVX-512 by a factor of 5 to 35 (measured).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from essa.errors import SpecError
from essa.spec.engine import EngineSpec, Precision

FAST_SHARE = 0.8
"""Share of float32's speed on the same product from which a format counts as fast."""

Activations = Literal["float32", "bfloat16"]
"""Format of the values between layers and of the adapters' products."""


class NumberFormat(StrEnum):
    """Format of the weights and, after an underscore, of the activations if they differ."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8_FLOAT32 = "int8_float32"
    INT8_BFLOAT16 = "int8_bfloat16"
    INT4_FLOAT32 = "int4_float32"
    INT4_BFLOAT16 = "int4_bfloat16"


class FormatStatus(StrEnum):
    """A machine's support for products in a format."""

    FAST = "fast"
    EMULATED = "emulated"
    IMPOSSIBLE = "impossible"


class FormatSpeed(BaseModel):
    """Speed of one format on one machine."""

    model_config = ConfigDict(frozen=True)

    format: NumberFormat
    status: FormatStatus
    gflops: float | None = None
    """Billions (1e9) of operations per second, on one core if a CPU; None if nothing was run."""


class MachineFormats(BaseModel):
    """Speed in every format of one machine, or of the slowest node of a cluster."""

    model_config = ConfigDict(frozen=True)

    device: Literal["cpu", "cuda"]
    formats: tuple[FormatSpeed, ...]

    def __getitem__(self, wanted: NumberFormat) -> FormatSpeed:
        return next(one for one in self.formats if one.format is wanted)

    def activations(self, precision: Precision) -> Activations:
        """Return the format of the activations over a base in this precision.

        Raises:
            SpecError: this machine cannot compute with weights in this precision.
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
        """Return the precision with the fastest products among those whose base fits into memory.

        If no speed was measured, this is the first of bf16, int8 and int4 that fits; if none fits,
        the smallest precision that the machine supports.
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
        """Format of weights in training: bfloat16 if it is fast on this machine, else float32."""
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
    """Number formats of a run, chosen when it first starts and kept when it resumes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    precision: Precision
    """Precision of the base in the search."""
    activations: Activations
    serving: Precision
    """Precision of the serving base, on which the result is tested as well."""
    serving_activations: Activations
    training: Activations
    """Format of the weights that gradients are computed through."""
    device: Literal["cpu", "cuda"]


def product_format(precision: Precision, activations: Activations) -> NumberFormat:
    """Return the format of a product of weights in a precision and activations in a format."""
    if precision in (Precision.FP32, Precision.BF16):
        # bf16 weights under float32 activations are widened once, at loading.
        return NumberFormat(activations)
    return NumberFormat(f"{precision}_{activations}")


def choose_formats(
    engine: EngineSpec,
    serving: Precision,
    machine: MachineFormats,
    fits: Callable[[Precision], bool],
) -> ChosenFormats:
    """Choose the number formats of a job.

    Args:
        engine: the engine's specification; its `precision` may be `auto`.
        serving: precision of the base that will be served.
        machine: formats that every machine of the job supports.
        fits: returns whether a base in a precision fits into memory.
    Raises:
        SpecError: this machine cannot compute in a requested precision.
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
    """Return what all of several machines support: each format's worst status and lowest speed."""
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
