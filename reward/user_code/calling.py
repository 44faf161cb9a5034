"""Arguments of a user's reward function, in the conventions of TRL, verl and OpenAI's graders.

Each function here returns the positional and the keyword arguments of one call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from reward.column import read_column
from reward.errors import RewardConfigError
from reward.sample import Sample
from reward.user_code.signature import Signature

Call = tuple[list[Any], dict[str, Any]]

TOKEN_IDS = ("completion_ids", "completions_ids", "prompt_ids")
"""Arguments that TRL passes and this service does not have."""
NOT_COLUMNS = ("prompt", "prompts", "completion", "completions", "trainer_state", *TOKEN_IDS)
VERL_PARAMETERS = ("data_source", "solution_str", "ground_truth", "extra_info")


def required_columns(signature: Signature, path: str) -> tuple[str, ...]:
    """Return the columns that every row must have for a function, beside verl's own parameters.

    Raises:
        RewardConfigError: the function requires an argument that it cannot be given.
    """
    if signature.style == "trl":
        unknown = [name for name in signature.required if name in TOKEN_IDS]
        columns = tuple(name for name in signature.required if name not in NOT_COLUMNS)
    elif signature.style == "verl":
        unknown = [name for name in signature.required if name not in VERL_PARAMETERS]
        columns = ()
    else:
        unknown = list(signature.required[2:])
        columns = ()
    if unknown:
        raise RewardConfigError(
            f"{signature.name} needs {', '.join(unknown)}, which a function of style "
            f"{signature.style!r} is not given here; give it a default or change {path}.style",
            field=f"{path}.function",
        )
    return columns


def batch_item(signature: Signature, samples: Sequence[Sample]) -> Call:
    """Return the call of a TRL function: lists with one entry per sample.

    Prompts and completions are lists of messages if the prompt was a conversation, else text.
    """
    names = dict.fromkeys(
        name for sample in samples for name in sample.columns if name not in NOT_COLUMNS
    )
    keyword: dict[str, Any] = {
        name: [sample.columns.get(name) for sample in samples] for name in names
    }
    keyword["prompts"] = [_prompt(sample) for sample in samples]
    keyword["completions"] = [_completion(sample) for sample in samples]
    if "trainer_state" in (*signature.required, *signature.optional):
        keyword["trainer_state"] = None
    return [], keyword


def verl_item(signature: Signature, sample: Sample, path: str) -> Call:
    """Return the call of a verl function.

    Raises:
        RewardConfigError: the row lacks what the function requires.
    """
    row = sample.columns
    keyword: dict[str, Any] = {
        "solution_str": sample.completion,
        "extra_info": {} if row.get("extra_info") is None else row["extra_info"],
    }
    nested = row.get("reward_model")
    if isinstance(nested, Mapping) and "ground_truth" in nested:
        keyword["ground_truth"] = nested["ground_truth"]
    else:
        keyword |= _from_column(row, "ground_truth", signature, path)
    return [], keyword | _from_column(row, "data_source", signature, path)


def grader_item(sample: Sample) -> Call:
    """Return the call of an OpenAI grader: the sample and the row.

    `output_json` is present if the whole answer is a JSON object or array.
    """
    message = {"role": "assistant", "content": sample.completion}
    given: dict[str, Any] = {
        "output_text": sample.completion,
        "choices": [{"index": 0, "message": message}],
        "output_tools": [],
    }
    try:
        parsed = json.loads(sample.completion)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, dict | list):
        given["output_json"] = parsed
    return [given, dict(sample.columns)], {}


def _from_column(
    row: Mapping[str, Any], name: str, signature: Signature, path: str
) -> dict[str, Any]:
    if name in signature.required:
        return {name: read_column(row, name, f"{path}.function")}
    return {name: row[name]} if name in row else {}


def _prompt(sample: Sample) -> Any:
    return [dict(message) for message in sample.messages] or sample.prompt


def _completion(sample: Sample) -> Any:
    if sample.messages:
        return [{"role": "assistant", "content": sample.completion}]
    return sample.completion
