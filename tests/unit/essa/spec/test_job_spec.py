"""What a job says about the base that is served, the gate, and batch invariance."""

from __future__ import annotations

from typing import Any

import pytest

from essa.errors import SpecError
from essa.spec import AlignmentJobSpec, Precision
from essa.spec.reading.file import validate_job


def job(**parts: Any) -> dict[str, Any]:
    return {
        "model": {"path": "org/model"},
        "data": {"train": {"path": "train.jsonl"}},
        "reward": {"type": "sentiment"},
        **parts,
    }


def invariant(engine: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return job(engine={"kind": "vllm", **engine}, rollout={"batch_invariant": True}, **parts)


def problem_of(given: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        validate_job(given)
    (problem,) = caught.value.detail["problems"]
    return problem.fix


@pytest.mark.parametrize(
    ("searched", "chosen", "served"),
    [
        ("int8", None, "bf16"),
        ("int4", None, "bf16"),
        ("bf16", None, "bf16"),
        ("fp32", None, "fp32"),
        ("int8", "int8", "int8"),
        ("int4", "fp32", "fp32"),
        ("bf16", "int8", "int8"),
    ],
)
@pytest.mark.parametrize("kind", ["vllm", "transformers"])
def test_integers_are_served_on_bf16_unless_the_job_says_otherwise(kind, searched, chosen, served):
    spec = validate_job(
        job(
            engine={"kind": kind, "precision": searched},
            evaluation={"serving_precision": chosen},
        )
    )
    assert spec.serving_precision is Precision(served)


def test_resolved_serving_precision_is_not_written_into_the_job():
    spec = validate_job(job(engine={"kind": "vllm", "precision": "int8"}))
    again = AlignmentJobSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.evaluation.serving_precision is None


def test_unknown_serving_precision_is_refused_by_field():
    with pytest.raises(SpecError) as caught:
        validate_job(job(evaluation={"serving_precision": "int3"}))
    (problem,) = caught.value.detail["problems"]
    assert problem.field == "evaluation.serving_precision"


@pytest.mark.parametrize("kind", ["vllm", "transformers"])
def test_engines_are_checked_unless_the_job_says_otherwise(kind):
    assert validate_job(job(engine={"kind": kind})).engine.gate
    assert not validate_job(job(engine={"kind": kind, "gate": False})).engine.gate


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("cores", [None, 1])
def test_batch_invariance_is_taken_where_the_engine_has_it(precision, cores):
    spec = validate_job(invariant({"precision": precision, "cores_per_worker": cores}))
    assert spec.rollout.batch_invariant


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ({"kind": "transformers"}, "engine.kind is transformers; set it to vllm"),
        ({"precision": "fp32"}, "engine.precision is fp32; set it to bf16, int8, int4 or auto"),
        ({"cores_per_worker": 2}, "engine.cores_per_worker is 2; set it to 1"),
    ],
)
def test_batch_invariance_is_refused_elsewhere_by_the_setting_to_change(engine, told):
    fix = problem_of(invariant(engine))
    assert f"rollout.batch_invariant is true but {told}" in fix
    assert "or remove rollout.batch_invariant" in fix
    # The setting itself is no problem.
    validate_job(job(engine={"kind": "vllm", **engine}))


def test_batch_invariance_is_refused_for_a_test_on_an_fp32_base():
    fix = problem_of(invariant({"precision": "int8"}, evaluation={"serving_precision": "fp32"}))
    assert "evaluation.serving_precision is fp32; set it to bf16, int8 or int4" in fix
