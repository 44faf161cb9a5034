"""Convert rows of a data set to prompts and token ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from essa.errors import DataError, SpecError
from essa.spec.data import ChatPromptSpec, PromptSpec
from essa.types import RenderedPrompt

Message = dict[str, str]


class PromptEncoder:
    """Applies `data.prompt` and the model's own tokenizer and chat template.

    Thread-safe once built.
    """

    def __init__(self, model_folder: str | Path, spec: PromptSpec) -> None:
        """Load the tokenizer of the model in `model_folder`.

        Raises:
            SpecError: the tokenizer cannot be loaded, a chat prompt needs a chat template that the
                model lacks, or a template contains more than plain column names.
        """
        self._is_chat = isinstance(spec, ChatPromptSpec)
        self._system = spec.system if isinstance(spec, ChatPromptSpec) else None
        if isinstance(spec, ChatPromptSpec):
            self._template = RowTemplate(spec.user, "data.prompt.user")
        else:
            self._template = RowTemplate(spec.template, "data.prompt.template")
        self.tokenizer = _load_tokenizer(Path(model_folder))
        if self._is_chat and not self.tokenizer.chat_template:
            raise SpecError(
                f"data.prompt.type is chat but the model in {model_folder} has no chat template; "
                "set data.prompt.type to text",
                field="data.prompt.type",
            )
        self.end_id: int | None = _end_id(Path(model_folder), self.tokenizer.eos_token_id)
        """Token that ends an answer, according to the model's generation configuration."""

    def prompt(self, columns: Mapping[str, Any], index: int) -> RenderedPrompt:
        """Render the prompt of one row.

        Args:
            columns: the row as in the user's file.
            index: line of the row in the file, counted from 0, for error messages.

        Raises:
            DataError: a column of the template is missing or unusable, or `messages` is malformed.
        """
        if not self._is_chat:
            return RenderedPrompt(self._template.fill(columns, index))
        messages = self._messages(columns, index)
        return RenderedPrompt(self.render(messages, index), tuple(messages))

    def render(self, messages: list[Message], index: int) -> str:
        """Apply the chat template up to the start of the assistant's answer."""
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
        except TemplateError as error:
            raise DataError(
                f"line {index + 1}: the model's chat template refuses these messages: {error}",
                line=index + 1,
            ) from error

    def token_ids(self, text: str) -> list[int]:
        """Return the token ids of a prompt; chat templates already contain special tokens."""
        return self.tokenizer(text, add_special_tokens=not self._is_chat).input_ids

    def answer_ids(self, text: str, *, is_finished: bool = True) -> list[int]:
        """Return the token ids of an answer, with the end token unless the answer was cut off."""
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        return [*ids, self.end_id] if is_finished and self.end_id is not None else ids

    def _messages(self, columns: Mapping[str, Any], index: int) -> list[Message]:
        for name in ("messages", "prompt"):
            # The `prompt` of a standard row is text, which fills in the template instead.
            if name in columns and (name == "messages" or isinstance(columns[name], list)):
                return _open_conversation(columns[name], name, index)
        user = {"role": "user", "content": self._template.fill(columns, index)}
        return (
            [user] if self._system is None else [{"role": "system", "content": self._system}, user]
        )


class RowTemplate:
    """A Python format string over plain column names: no attributes, indices or format codes."""

    def __init__(self, template: str, field: str) -> None:
        """Parse `template`; `field` is the name of its setting.

        Raises:
            SpecError: the template is malformed, or braces contain more than a column name.
        """
        try:
            parts = list(Formatter().parse(template))
        except ValueError as error:
            raise SpecError(
                f"{field} is not a format string: {error}; write literal braces twice",
                field=field,
            ) from None
        for _, name, code, conversion in parts:
            if name is None:
                continue
            if not name or any(c in name for c in ".[]") or code or conversion:
                raise SpecError(
                    f"{field} has {{{name}{'!' + conversion if conversion else ''}"
                    f"{':' + code if code else ''}}}; only plain column names such as {{prompt}} "
                    "may stand in braces",
                    field=field,
                )
        self._field = field
        self._parts = [(literal, name) for literal, name, _, _ in parts]

    def fill(self, columns: Mapping[str, Any], index: int) -> str:
        """Return the template filled in with the row's values.

        Raises:
            DataError: a column is missing, null, or neither text nor a number.
        """
        return "".join(
            literal + ("" if name is None else self._value(columns, name, index))
            for literal, name in self._parts
        )

    def _value(self, columns: Mapping[str, Any], name: str, index: int) -> str:
        value = columns.get(name)
        if isinstance(value, str):
            return value
        if isinstance(value, int | float):
            return str(value)
        there = "null" if name in columns and value is None else type(value).__name__
        problem = f"is {there}" if name in columns else "is missing"
        raise DataError(
            f"line {index + 1}: column '{name}' of {self._field} {problem}, text or a number is "
            f"needed; the row has the columns {', '.join(map(str, columns)) or '(none)'}",
            line=index + 1,
            column=name,
        )


def checked_messages(value: Any, column: str, index: int) -> list[Message]:
    """Check that a value is a conversation: a list of `{"role": text, "content": text}`.

    Raises:
        DataError: the value has another form.
    """
    is_list = isinstance(value, list) and bool(value)
    if not is_list or not all(_is_message(message) for message in value):
        raise DataError(
            f"line {index + 1}: `{column}` must be a list of objects with a text `role` and a text "
            f"`content`, it is {json.dumps(value, default=str)[:120]}",
            line=index + 1,
            column=column,
        )
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _open_conversation(value: Any, column: str, index: int) -> list[Message]:
    messages = checked_messages(value, column, index)
    if messages[-1]["role"] == "assistant":
        raise DataError(
            f"line {index + 1}: `{column}` ends with the assistant's turn; a prompt must end with "
            "another's",
            line=index + 1,
            column=column,
        )
    return messages


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("role", "content")
    )


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise SpecError(
            f"no tokenizer loads from {folder}: {reason}; set model.path to a model saved with "
            "its tokenizer",
            field="model.path",
        ) from error


def _end_id(folder: Path, tokenizer_end: int | None) -> int | None:
    """Return the token id at which generation stops; the tokenizer's own if there are several."""
    for file in ("generation_config.json", "config.json"):
        path = folder / file
        configured = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
        if isinstance(configured, int):
            return configured
        if isinstance(configured, list) and configured:
            return tokenizer_end if tokenizer_end in configured else configured[0]
    return tokenizer_end
