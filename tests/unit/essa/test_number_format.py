"""What a job computes in, by what its machines can do."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import ValidationError

from essa.errors import SpecError
from essa.number_format import (
    FormatSpeed,
    FormatStatus,
    MachineFormats,
    NumberFormat,
    choose_formats,
    slowest,
)
from essa.spec import AlignmentJobSpec, Precision, TransformersEngineSpec, VllmEngineSpec
from essa.spec.reading.file import validate_job

ALL_FIT = lambda precision: True  # noqa: E731


def machine(
    device: Literal["cpu", "cuda"] = "cpu", **formats: tuple[str, float | None]
) -> MachineFormats:
    return MachineFormats(
        device=device,
        formats=tuple(
            FormatSpeed(
                format=one,
                status=FormatStatus(formats[one][0]),
                gflops=formats[one][1],
            )
            for one in NumberFormat
        ),
    )


ZEN3 = machine(
    float32=("fast", 60),
    bfloat16=("emulated", 2),
    int8_float32=("fast", 70),
    int8_bfloat16=("fast", 75),
    int4_float32=("impossible", None),
    int4_bfloat16=("impossible", None),
)
"""AVX2 and no more."""
SAPPHIRE_RAPIDS = machine(
    float32=("fast", 120),
    bfloat16=("fast", 900),
    int8_float32=("fast", 300),
    int8_bfloat16=("fast", 1700),
    int4_float32=("impossible", None),
    int4_bfloat16=("fast", 500),
)
"""AVX-512 and AMX."""
HOPPER = machine(
    "cuda",
    float32=("fast", 50_000),
    bfloat16=("fast", 700_000),
    int8_float32=("impossible", None),
    int8_bfloat16=("fast", None),
    int4_float32=("impossible", None),
    int4_bfloat16=("fast", None),
)


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.INT8])
def test_activations_are_wide_where_the_cpu_emulates_bfloat16(precision):
    assert ZEN3.activations(precision) == "float32"
    assert SAPPHIRE_RAPIDS.activations(precision) == "bfloat16"
    assert HOPPER.activations(precision) == "bfloat16"


def test_fp32_is_wide_everywhere():
    assert SAPPHIRE_RAPIDS.activations(Precision.FP32) == "float32"


def test_a_product_that_is_there_in_one_format_only_is_taken_in_that():
    assert SAPPHIRE_RAPIDS.activations(Precision.INT4) == "bfloat16"
    formats = {one.format: (one.status, one.gflops) for one in ZEN3.formats}
    wide = machine("cpu", **formats | {"int4_bfloat16": ("fast", 90.0)})
    assert wide.activations(Precision.INT4) == "bfloat16"


def test_an_impossible_precision_is_refused_with_what_to_take_instead():
    with pytest.raises(SpecError, match=r"engine\.precision is int4.* auto, which takes int8 here"):
        ZEN3.activations(Precision.INT4)


def test_auto_takes_the_fastest_that_fits():
    assert SAPPHIRE_RAPIDS.fastest() is Precision.INT8
    assert SAPPHIRE_RAPIDS.fastest(lambda one: one is Precision.INT4) is Precision.INT4
    assert ZEN3.fastest() is Precision.INT8
    assert ZEN3.fastest(lambda one: one is Precision.BF16) is Precision.BF16
    # Nothing fits: the smallest there is.
    assert ZEN3.fastest(lambda one: False) is Precision.INT8
    assert SAPPHIRE_RAPIDS.fastest(lambda one: False) is Precision.INT4


def test_gpus_keep_bf16_as_long_as_it_fits():
    assert HOPPER.fastest() is Precision.BF16
    assert HOPPER.fastest(lambda one: one is not Precision.BF16) is Precision.INT8


def test_a_job_trains_in_what_is_not_emulated():
    chosen = choose_formats(VllmEngineSpec(precision="auto"), Precision.BF16, ZEN3, ALL_FIT)
    assert chosen.training == "float32"
    assert (chosen.precision, chosen.activations) == (Precision.INT8, "float32")
    assert (chosen.serving, chosen.serving_activations) == (Precision.BF16, "float32")
    native = choose_formats(VllmEngineSpec(), Precision.BF16, SAPPHIRE_RAPIDS, ALL_FIT)
    assert (native.precision, native.activations, native.training) == (
        Precision.BF16, "bfloat16", "bfloat16",
    )  # fmt: skip


def test_the_precision_that_is_served_is_checked_too():
    with pytest.raises(SpecError, match="int4"):
        choose_formats(VllmEngineSpec(), Precision.INT4, ZEN3, ALL_FIT)


def test_bitsandbytes_runs_every_precision_and_saves_memory_only():
    engine = TransformersEngineSpec(precision=Precision.INT4)
    chosen = choose_formats(engine, Precision.BF16, ZEN3, ALL_FIT)
    assert (chosen.precision, chosen.activations) == (Precision.INT4, "float32")
    auto = TransformersEngineSpec(precision="auto")
    assert choose_formats(auto, Precision.BF16, ZEN3, ALL_FIT).precision is Precision.BF16
    small = choose_formats(auto, Precision.BF16, ZEN3, lambda one: one is Precision.INT8)
    assert small.precision is Precision.INT8


def test_a_cluster_computes_in_what_all_its_nodes_do():
    both = slowest([ZEN3, SAPPHIRE_RAPIDS])
    assert both.activations(Precision.BF16) == "float32"
    assert both[NumberFormat.INT4_BFLOAT16].status is FormatStatus.IMPOSSIBLE
    assert both[NumberFormat.FLOAT32].gflops == 60
    assert slowest([SAPPHIRE_RAPIDS]) == SAPPHIRE_RAPIDS


# -- in a specification ---------------------------------------------------------------------


def job(**sections: Any) -> AlignmentJobSpec:
    return validate_job(
        {
            "model": {"path": "model"},
            "data": {"train": {"path": "train.jsonl"}},
            "reward": {"type": "sentiment"},
        }
        | sections
    )


def test_what_is_served_after_auto_is_bf16():
    assert job(engine={"kind": "vllm", "precision": "auto"}).serving_precision is Precision.BF16
    assert job(engine={"kind": "vllm", "precision": "fp32"}).serving_precision is Precision.FP32


def test_auto_takes_no_settings_of_a_quantisation():
    with pytest.raises((SpecError, ValidationError), match="auto"):
        job(engine={"kind": "vllm", "precision": "auto", "quantization": {"method": "gptq"}})


def test_only_engines_have_auto():
    with pytest.raises((SpecError, ValidationError), match="serving_precision"):
        job(evaluation={"serving_precision": "auto"})
