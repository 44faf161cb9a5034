"""Translate a request into a specification, and problems back into the request's field names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from alignment_api.errors import MethodNotAvailableError
from alignment_api.graders.translation import GraderEndpoint, as_reward
from alignment_api.jobs.requests import Extras, OpenAiRequest, Reinforcement, SpecificationRequest
from essa.errors import SpecError
from essa.spec import AlignmentJobSpec
from essa.spec.method import METHOD_SPECS
from essa.spec.reading.file import problem_error, validate_job
from essa.spec.reading.problem import Problem

METHODS = (*METHOD_SPECS, "reinforcement")

_FILES = {"train": "training_file", "validation": "validation_file", "test": "test_file"}
_OF_DATA = ("prompt", "validation_fraction", "test_fraction")
"""Fields of `data` that the request has in its method's object."""
_NOT_IN_METHOD = ("schema_version", "model", "data", "method", "integrations", "seed")
_METHOD_FIELDS = {
    kind: tuple(name for name in model.model_fields if name != "type")
    for kind, model in METHOD_SPECS.items()
}
"""Fields of the specification's `method` that the request has in its method's object, by type."""


@dataclass(frozen=True)
class JobRequest:
    """A job to create.

    Attributes:
        kept: fields of the request that the specification lacks, stored in the job's row.
        told: translates a problem with the specification into the request's field names.
    """

    spec: AlignmentJobSpec
    priority: int
    kept: dict[str, Any]
    told: Callable[[Problem], Problem] = lambda problem: problem


def read_request(
    request: OpenAiRequest | SpecificationRequest, endpoint: GraderEndpoint | None
) -> JobRequest:
    """Read the job that a request describes.

    Args:
        request: a request in either form.
        endpoint: endpoint of grading models; None if the operator has set none.
    Raises:
        SpecError: a part of the request cannot be used; the message has a line for each fault.
        MethodNotAvailableError: the request names a method that is not offered.
    """
    if isinstance(request, SpecificationRequest):
        names = AlignmentJobSpec.model_fields
        spec = AlignmentJobSpec(**{name: getattr(request, name) for name in names})
        return JobRequest(spec, request.priority, _kept(request, {"type": spec.method.type}))
    return _from_openai(request, endpoint)


def _from_openai(request: OpenAiRequest, endpoint: GraderEndpoint | None) -> JobRequest:
    if request.hyperparameters:
        raise SpecError(
            "hyperparameters is not empty, and nothing here reads it; settings of a job stand in "
            f"method.{request.method.type}",
            field="hyperparameters",
        )
    kind, given = _method(request)
    if isinstance(given, Reinforcement):
        content = _reinforcement(given, endpoint)
        # By alias and without defaults, so that it is as it was sent.
        sent = given.model_dump(mode="json", exclude_unset=True)
    else:
        content, sent = given, given
    raw = _raw_spec(request, kind, content)

    def told(problem: Problem) -> Problem:
        return replace(problem, field=_sent_as(problem.field, kind))

    try:
        spec = validate_job(raw)
    except SpecError as error:
        raise problem_error([told(one) for one in error.detail["problems"]]) from error
    return JobRequest(spec, request.priority, _kept(request, {"type": kind, kind: sent}), told)


def _method(request: OpenAiRequest) -> tuple[str, dict[str, Any] | Reinforcement]:
    kind = request.method.type
    if kind not in METHODS:
        raise MethodNotAvailableError(
            f"method.type is {kind!r}, which this service does not offer; use one of "
            f"{', '.join(METHODS)}",
            field="method.type",
        )
    given = getattr(request.method, kind)
    if given is None:
        raise SpecError(
            f"method.{kind} is missing; method.type is {kind!r}, so its settings stand there",
            field=f"method.{kind}",
        )
    return kind, given


def _raw_spec(request: OpenAiRequest, kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return the specification as plain data, not yet validated."""
    # A reinforcement request is a search with default settings.
    method: dict[str, Any] = {"type": kind if kind in _METHOD_FIELDS else "evolution"}
    own = _METHOD_FIELDS[method["type"]]
    known = [name for name in AlignmentJobSpec.model_fields if name not in _NOT_IN_METHOD]
    known += [*_OF_DATA, *own]
    unknown = [name for name in content if name not in known]
    if unknown:
        fix = f"no such setting; method.{kind} takes {', '.join(sorted(known))}"
        raise problem_error([Problem(f"method.{kind}.{name}", None, fix) for name in unknown])
    files = {name: getattr(request, field) for name, field in _FILES.items()}
    data = {name: {"file_id": file_id} for name, file_id in files.items() if file_id is not None}
    raw: dict[str, Any] = {"name": request.suffix or AlignmentJobSpec.model_fields["name"].default}
    for name, value in content.items():
        part = data if name in _OF_DATA else method if name in own else raw
        part[name] = value
    raw |= {"model": {"path": request.model}, "data": data, "method": method}
    if request.integrations:
        raw["integrations"] = [one.model_dump(mode="json") for one in request.integrations]
    if request.seed is not None:
        raw["seed"] = request.seed
    return raw


def _reinforcement(given: Reinforcement, endpoint: GraderEndpoint | None) -> dict[str, Any]:
    reward = as_reward(given.grader, "method.reinforcement.grader", endpoint)
    content: dict[str, Any] = {"reward": reward.model_dump(mode="json")}
    chosen = given.hyperparameters
    if chosen is not None and isinstance(chosen.batch_size, int):
        content["batch_size"] = chosen.batch_size
    if chosen is not None and isinstance(chosen.eval_interval, int):
        content["evaluation"] = {"every": chosen.eval_interval}
    return content


def _sent_as(field: str, kind: str) -> str:
    """Return the name in the request of the specification's `field`."""
    first, _, rest = field.partition(".")
    if first == "data":
        second = rest.partition(".")[0]
        return _FILES.get(second) or f"method.{kind}.{rest}"
    if kind == "reinforcement":
        moved = {
            "reward": "grader",
            "batch_size": "hyperparameters.batch_size",
            "evaluation": "hyperparameters.eval_interval",
        }
        field = field.replace(first, moved.get(first, first), 1)
    if first == "model":
        return "model"
    if first in ("", "seed", "integrations"):
        return field
    return f"method.{kind}.{rest}" if first == "method" else f"method.{kind}.{field}"


def _kept(request: Extras | SpecificationRequest, method: dict[str, Any]) -> dict[str, Any]:
    return {"suffix": request.suffix, "metadata": request.metadata, "method": method}
