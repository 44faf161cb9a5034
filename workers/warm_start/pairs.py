"""Training pairs of the warm start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from essa.data import read_jsonl
from essa.errors import DataError
from workers.prompting import PromptEncoder, checked_messages


@dataclass(frozen=True)
class SftPair:
    """A prompt and the answer to train on, as token ids; the answer ends with the end token."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]

    def __len__(self) -> int:
        """Tokens of prompt and answer together."""
        return len(self.prompt_ids) + len(self.completion_ids)


def read_pairs(path: str | Path, encoder: PromptEncoder) -> list[SftPair]:
    """Read a JSONL file of training pairs.

    A row is standard (`prompt` and `completion`, both text), or conversational: `messages` whose
    last turn is the assistant's, or `prompt` and `completion` as lists of messages.

    Raises:
        DataError: the file is missing, empty, or has a line that is no such row.
    """
    rows = read_jsonl(Path(path).expanduser())
    return [encode_pair(row, encoder, index) for index, row in enumerate(rows)]


def encode_pair(row: Mapping[str, Any], encoder: PromptEncoder, index: int) -> SftPair:
    """Encode one row.

    Args:
        row: the parsed line.
        encoder: prompt encoder of the model to train.
        index: the line's number from 0, for messages.

    Raises:
        DataError: the row is neither standard nor conversational, or its answer is empty.
    """
    if "messages" in row:
        messages = checked_messages(row["messages"], "messages", index)
        answer = _last_answer(messages, "messages", index)
        if len(messages) == 1:
            raise DataError(
                f"line {index + 1}: `messages` has the assistant's turn only; put the user's "
                "before it",
                line=index + 1,
            )
        prompt = encoder.prompt({"messages": messages[:-1]}, index).text
    elif "prompt" in row and "completion" in row:
        answer = _completion_text(row["completion"], index)
        prompt = encoder.prompt(row, index).text
    else:
        raise DataError(
            f"line {index + 1}: needs `prompt` and `completion`, or `messages`; the row has "
            f"{', '.join(map(str, row)) or '(nothing)'}",
            line=index + 1,
        )
    if not answer.strip():
        raise DataError(f"line {index + 1}: the answer is empty", line=index + 1)
    return SftPair(tuple(encoder.token_ids(prompt)), tuple(encoder.answer_ids(answer)))


def _completion_text(value: Any, index: int) -> str:
    if isinstance(value, str):
        return value
    messages = checked_messages(value, "completion", index)
    if len(messages) != 1:
        raise DataError(
            f"line {index + 1}: `completion` must be one assistant's turn, it has {len(messages)}",
            line=index + 1,
        )
    return _last_answer(messages, "completion", index)


def _last_answer(messages: list[dict[str, str]], column: str, index: int) -> str:
    last = messages[-1]
    if last["role"] != "assistant":
        raise DataError(
            f"line {index + 1}: `{column}` must end with the assistant's turn, it ends with "
            f"role '{last['role']}'",
            line=index + 1,
        )
    return last["content"]
