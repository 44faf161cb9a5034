"""Calibration texts: from the rows of a JSONL file to token ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from essa.calibration import text_columns
from essa.data import read_numbered_jsonl
from essa.errors import DataError
from essa.spec.engine import QuantizationSpec
from workers.prompting import checked_messages


def read_texts(path: str | Path, model_folder: Path, limit: int | None = None) -> list[str]:
    """Read the calibration texts of a JSONL file, as the model will see them.

    `text` is used as it is. `messages`, and a prompt with its answer, go through the model's chat
    template; without a template, a prompt and its answer are two paragraphs.

    Args:
        path: the file; `essa.calibration.SHAPES` says what its rows may look like.
        model_folder: folder of the tokenizer and its chat template.
        limit: number of rows to read, from the first; None reads all.
    Raises:
        DataError: the file is missing or empty, or a line has no usable text; names the line.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    rows = read_numbered_jsonl(Path(path).expanduser())[:limit]
    return [_text(row, line, tokenizer) for line, row in rows]


def chosen_texts(texts: Sequence[str], settings: QuantizationSpec) -> list[str]:
    """Return at most `settings.samples` texts, evenly spread, since files are often sorted."""
    count = min(len(texts), settings.samples)
    return [texts[index * len(texts) // count] for index in range(count)]


def texts_digest(texts: Sequence[str]) -> str:
    """Return the SHA-256 of the texts and of the boundaries between them."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def token_sequences(
    texts: Sequence[str], model_folder: Path, settings: QuantizationSpec
) -> list[list[int]]:
    """Return token ids of the chosen texts, cut to `sequence_length` and the model's context."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    config = AutoConfig.from_pretrained(model_folder).get_text_config()
    context = getattr(config, "max_position_embeddings", None) or settings.sequence_length
    longest = min(settings.sequence_length, context)
    return [_token_ids(text, tokenizer)[:longest] for text in chosen_texts(texts, settings)]


def _token_ids(text: str, tokenizer: Any) -> list[int]:
    ids: list[int] = tokenizer(text).input_ids
    start = tokenizer.bos_token_id
    # A chat template writes the start token itself, and the tokenizer adds another.
    return ids[1:] if start is not None and ids[:2] == [start, start] else ids


def _text(row: Mapping[str, Any], line: int, tokenizer: Any) -> str:
    columns = text_columns(row, line)
    if columns == ("messages",):
        messages = checked_messages(row["messages"], "messages", line - 1)
        if not tokenizer.chat_template:
            raise DataError(
                f"line {line}: `messages` needs a chat template and the model has none; give "
                "`text`, or a prompt and its answer",
                line=line,
            )
        return _chat(messages, line, tokenizer)
    for column in columns:
        value = row[column]
        if not isinstance(value, str) or not value.strip():
            shown = "empty" if value == "" else f"{json.dumps(value, default=str)[:80]}"
            raise DataError(f"line {line}: `{column}` must be text, it is {shown}", line=line)
    parts = [row[column] for column in columns]
    if len(parts) == 1 or not tokenizer.chat_template:
        return "\n\n".join(parts)
    roles = ("user", "assistant")
    messages = [{"role": role, "content": part} for role, part in zip(roles, parts, strict=True)]
    return _chat(messages, line, tokenizer)


def _chat(messages: list[dict[str, str]], line: int, tokenizer: Any) -> str:
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(messages, tokenize=False)
    except TemplateError as error:
        raise DataError(
            f"line {line}: the model's chat template refuses these messages: {error}", line=line
        ) from error
