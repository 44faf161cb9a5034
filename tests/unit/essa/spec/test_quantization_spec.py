"""How a job says its base is quantised."""

from __future__ import annotations

from typing import Any

import pytest

from essa.calibration import SHAPES, text_columns
from essa.errors import DataError, SpecError
from essa.spec import AlignmentJobSpec, QuantizationMethod
from essa.spec.reading.file import load_job_file, validate_job
from tests.narrowing import present


def job(**engine: Any) -> dict[str, Any]:
    return {
        "model": {"path": "org/model"},
        "data": {"train": {"path": "train.jsonl"}},
        "reward": {"type": "sentiment"},
        "engine": {"kind": "vllm", **engine},
    }


def problem_of(**engine: Any) -> tuple[str, str]:
    with pytest.raises(SpecError) as caught:
        validate_job(job(**engine))
    (problem,) = caught.value.detail["problems"]
    return problem.field, problem.fix


def test_settings_have_their_defaults() -> None:
    given = {"method": "gptq", "keep_int8": 4, "calibration": {"file_id": "file-1"}}
    quantization = present(
        validate_job(job(precision="int4", quantization=given)).engine.quantization
    )
    assert quantization.method is QuantizationMethod.GPTQ
    assert (quantization.keep_int8, quantization.group_size) == (4, None)
    assert (quantization.samples, quantization.sequence_length) == (128, 512)
    assert present(quantization.calibration).file_id == "file-1"
    assert validate_job(job(precision="int4")).engine.quantization is None


@pytest.mark.parametrize(
    ("settings", "is_calibrated"),
    [({}, False), ({"method": "gptq"}, True), ({"keep_int8": 1}, True), ({"samples": 3}, False)],
)
def test_texts_are_read_for_gptq_and_for_kept_layers(settings, is_calibrated) -> None:
    spec = validate_job(job(precision="int4", quantization=settings))
    assert present(spec.engine.quantization).is_calibrated is is_calibrated


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_unquantised_precision_is_refused_by_field(precision) -> None:
    field, fix = problem_of(precision=precision, quantization={"method": "gptq"})
    assert field == "engine.quantization"
    assert f"engine.precision is {precision}" in fix
    assert "int8 or int4" in fix


def test_precision_left_at_its_default_is_refused_too() -> None:
    assert problem_of(quantization={})[0] == "engine.quantization"


def test_another_engine_is_refused_by_field() -> None:
    field, fix = problem_of(kind="transformers", precision="int4", quantization={})
    assert field == "engine.quantization"
    assert "set engine.kind to vllm" in fix


@pytest.mark.parametrize(("name", "value"), [("keep_int8", 2), ("group_size", 64)])
def test_settings_of_int4_are_refused_with_int8(name, value) -> None:
    field, fix = problem_of(precision="int8", quantization={name: value})
    assert field == "engine.quantization"
    assert f"engine.quantization.{name} is {value} but engine.precision is int8" in fix


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", "awq"),
        ("group_size", 48),
        ("keep_int8", -1),
        ("samples", 0),
        ("sequence_length", 4),
        ("bits", 4),
    ],
)
def test_wrong_setting_is_refused_by_field(name, value) -> None:
    field, _ = problem_of(precision="int4", quantization={name: value})
    assert field == f"engine.quantization.{name}"


def test_unknown_precision_is_the_only_problem_told() -> None:
    assert problem_of(precision="int3", quantization={})[0] == "engine.precision"


def test_calibration_file_counts_from_the_job_file(tmp_path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        "model: {path: org/model}\ndata: {train: {path: train.jsonl}}\nreward: {type: sentiment}\n"
        "engine:\n  kind: vllm\n  precision: int4\n"
        "  quantization: {method: gptq, calibration: {path: texts.jsonl}}\n"
    )
    spec = load_job_file(path, ["engine.quantization.samples=64"])
    quantization = present(spec.engine.quantization)
    assert present(quantization.calibration).path == str(tmp_path / "texts.jsonl")
    assert quantization.samples == 64


def test_specification_survives_json() -> None:
    spec = validate_job(job(precision="int4", quantization={"method": "gptq", "group_size": 64}))
    assert AlignmentJobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_row_is_taken_by_its_first_shape() -> None:
    for shape in SHAPES:
        assert text_columns(dict.fromkeys(shape, "x") | {"key": 1}, 1) == shape
    assert text_columns({"text": "x", "prompt": "y", "answer": "z"}, 1) == ("text",)
    with pytest.raises(DataError, match=r"line 4: .*this one has \(nothing\)"):
        text_columns({}, 4)
