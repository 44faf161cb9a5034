"""Translate OpenAI's graders into rewards of this service."""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from pydantic import ValidationError

from alignment_api.graders.openai_graders import (
    MultiGrader,
    OtherGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
)
from essa.errors import SpecError
from essa.spec.reading.problem import problems_of
from reward.spec import (
    CompositeSpec,
    ExactMatchSpec,
    JudgeSpec,
    PythonSpec,
    RegexSpec,
    RewardSpec,
)
from reward.spec.composite import CompositeComponentSpec
from reward.spec.external import NumberParseSpec
from reward.spec.model import RewardSpecModel

AnyGrader: TypeAlias = (
    RewardSpec | StringCheckGrader | PythonGrader | ScoreModelGrader | MultiGrader | OtherGrader
)

_OUTPUT = "sample.output_text"
_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_COLUMN = re.compile(r"item\.([A-Za-z_][A-Za-z0-9_]*)")


class GraderEndpoint(NamedTuple):
    """The endpoint that serves the models of `score_model` graders."""

    base_url: str
    api_key: str | None
    """Name of the operator's secret that holds the key."""


def as_reward(grader: AnyGrader, where: str, endpoint: GraderEndpoint | None) -> RewardSpec:
    """Return the reward that scores as a grader does; a reward is returned unchanged.

    Args:
        grader: a grader or a reward.
        where: the grader's setting, for error messages.
        endpoint: endpoint of grading models; None if the operator has set none.
    Raises:
        SpecError: no reward is exactly equivalent; the message says what to use instead.
    """
    if isinstance(grader, RewardSpecModel):
        return grader
    try:
        match grader:
            case StringCheckGrader():
                return _string_check(grader, where)
            case PythonGrader():
                return PythonSpec(source=grader.source, function="grade", style="openai")
            case ScoreModelGrader():
                return _score_model(grader, where, endpoint)
            case MultiGrader():
                return _multi(grader, where, endpoint)
    except ValidationError as error:
        problem = problems_of(error.errors(), None)[0]
        raise SpecError(f"{where}: {problem}", field=where) from error
    raise SpecError(
        f"{where}.type is {grader.type!r}, which has no counterpart here; use a reward of this "
        "service, such as `judge`, `exact_match` or `composite`",
        field=f"{where}.type",
    )


def _string_check(grader: StringCheckGrader, where: str) -> RewardSpec:
    if _names(grader.input) != [_OUTPUT] or _PLACE.sub("", grader.input).strip():
        raise SpecError(
            f"{where}.input is {grader.input!r}; only {{{{{_OUTPUT}}}}} alone can be checked",
            field=f"{where}.input",
        )
    column = _lone_column(grader.reference, where)
    if grader.operation in ("like", "ilike"):
        return _contains(grader, column, where)
    same = (
        ExactMatchSpec(reference=column, strip=False)
        if column is not None
        else RegexSpec(pattern=_literal(grader.reference), full_match=True)
    )
    if grader.operation == "eq":
        return same
    part = CompositeComponentSpec(name="same", reward=same)
    return CompositeSpec(components=(part,), combine="formula", formula="1 - same")


def _contains(grader: StringCheckGrader, column: str | None, where: str) -> RewardSpec:
    if column is not None:
        raise SpecError(
            f"{where}.operation is {grader.operation!r} with a column as reference, which has no "
            f"exact counterpart here; {{'type': 'keywords', 'column': '{column}'}} looks for whole "
            "words",
            field=f"{where}.operation",
        )
    is_blind = grader.operation == "ilike"
    return RegexSpec(pattern=_literal(grader.reference), ignore_case=is_blind)


def _score_model(
    grader: ScoreModelGrader, where: str, endpoint: GraderEndpoint | None
) -> RewardSpec:
    if endpoint is None:
        raise SpecError(
            f"{where}.type is 'score_model', and the operator has named no endpoint for it; set "
            "ESSA_GRADER_URL where the service is started, or use a reward of type `judge`",
            field=f"{where}.type",
        )
    system = [one.text for one in grader.input if one.role in ("system", "developer")]
    user = [one.text for one in grader.input if one.role == "user"]
    if len(user) != 1 or len(user) + len(system) != len(grader.input):
        raise SpecError(
            f"{where}.input must have one message of the user, and besides it only system messages",
            field=f"{where}.input",
        )
    for text in system:
        if _names(text):
            raise SpecError(
                f"{where}.input has {{{{{_names(text)[0]}}}}} in a system message; move it to that "
                "of the user",
                field=f"{where}.input",
            )
    low, high = grader.range or (0.0, 1.0)
    sampling = grader.sampling_params
    given = sampling.model_dump(exclude_none=True) if sampling else {}
    most = [given.pop(f"max_{word}_tokens", None) for word in ("completions", "completion")]
    return JudgeSpec(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        model=grader.model,
        system="\n\n".join(system) or None,
        prompt=f"{_template(user[0], where)}\n\nReply with a number from {low:g} to {high:g} and "
        "nothing else.",
        temperature=given.pop("temperature", 0.0),
        max_tokens=most[0] or most[1] or 256,
        extra=given,
        parse=NumberParseSpec(min=low, max=high),
    )


def _multi(grader: MultiGrader, where: str, endpoint: GraderEndpoint | None) -> RewardSpec:
    components = tuple(
        CompositeComponentSpec(
            name=name, reward=as_reward(inner, f"{where}.graders.{name}", endpoint)
        )
        for name, inner in grader.graders.items()
    )
    return CompositeSpec(components=components, combine="formula", formula=grader.calculate_output)


def _names(text: str) -> list[str]:
    return _PLACE.findall(text)


def _lone_column(reference: str, where: str) -> str | None:
    """Return the column that a reference names; None for a plain text."""
    names = _names(reference)
    if not names:
        return None
    column = _COLUMN.fullmatch(names[0])
    if len(names) > 1 or _PLACE.sub("", reference) or column is None:
        raise SpecError(
            f"{where}.reference is {reference!r}; write a plain text, or {{{{item.COLUMN}}}} alone",
            field=f"{where}.reference",
        )
    return column[1]


def _template(text: str, where: str) -> str:
    """Convert OpenAI's template to ours, which has single braces around plain names."""
    parts, end = [], 0
    for found in _PLACE.finditer(text):
        parts.append(_braced(text[end : found.start()]))
        column = _COLUMN.fullmatch(found[1])
        if found[1] != _OUTPUT and column is None:
            raise SpecError(
                f"{where}.input names {found[0]}; {{{{{_OUTPUT}}}}} and {{{{item.COLUMN}}}} can be "
                "filled",
                field=f"{where}.input",
            )
        parts.append("{completion}" if column is None else f"{{{column[1]}}}")
        end = found.end()
    return "".join([*parts, _braced(text[end:])])


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _literal(text: str) -> str:
    # An empty text occurs in every answer, but a pattern must not be empty.
    return re.escape(text) or "(?:)"
