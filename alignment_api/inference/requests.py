"""Requests to a model: the part of OpenAI's requests that is passed on to vLLM."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CHOICES = 16
MOST_PROMPTS = 16

_INT64 = 2**63 - 1
_Stop = Annotated[str, Field(min_length=1, max_length=1000)]
# With a length limit, pydantic inspects the text and refuses lone surrogates.
_Text = Annotated[str, Field(max_length=2**20)]
_Token = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class StreamOptions(_Strict):
    """Options of a stream."""

    include_usage: bool = False
    """Whether a last chunk reports the token counts."""


class _Request(_Strict):
    model: str = Field(min_length=1, max_length=4096)
    """Id of a model listed by `/v1/models`."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature; 0 is greedy decoding, 1 by default."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    """Number of answers per prompt."""
    seed: int | None = Field(default=None, ge=-_INT64, le=_INT64)
    stop: _Stop | Annotated[list[_Stop], Field(max_length=4)] | None = None
    """Stop sequences, up to four: an answer ends before the first one that occurs."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    stream: bool = False
    stream_options: StreamOptions | None = None
    """Options of the stream; allowed only with `stream`."""
    user: str | None = None
    """Ignored."""
    metadata: dict[str, Any] | None = None
    """Ignored."""

    def forwarded(self, name: str) -> bytes:
        """Return the request body for the server, which knows the model as `name`."""
        values = self.model_dump(exclude_none=True, exclude={"user", "metadata"})
        if not self.stream:
            values.pop("stream_options", None)
        return json.dumps(self._changed(values) | {"model": name}).encode()

    def _changed(self, values: dict[str, Any]) -> dict[str, Any]:
        return values


class TextPart(_Strict):
    """A text part of a message's content."""

    type: Literal["text"]
    text: _Text


class Message(_Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    """Author of the message; `developer` is treated as `system`."""
    content: _Text | list[TextPart]
    name: str | None = None
    """Ignored."""


class ChatRequest(_Request):
    """Request for the next turn of a conversation, formatted with the model's chat template."""

    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """Maximum tokens per answer; ESSA_INFERENCE_MAX_TOKENS is both the default and the limit."""
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    """Number of most likely tokens to report; allowed only with `logprobs`."""

    @property
    def tokens(self) -> int | None:
        """Maximum tokens per answer; None if the request sets none."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def prompts(self) -> int:
        """Number of prompts in this request."""
        return 1

    def _changed(self, values: dict[str, Any]) -> dict[str, Any]:
        for message in values["messages"]:
            message.pop("name", None)
            if message["role"] == "developer":
                message["role"] = "system"
        return values


class CompletionRequest(_Request):
    """Request for the continuation of a text, without a chat template."""

    prompt: (
        _Text
        | Annotated[list[_Text], Field(min_length=1, max_length=MOST_PROMPTS)]
        | Annotated[list[_Token], Field(min_length=1, max_length=2**20)]
    )
    """Text, list of texts, or token ids to continue."""
    max_tokens: int = Field(default=16, ge=1)
    logprobs: int | None = Field(default=None, ge=0, le=5)

    @property
    def tokens(self) -> int | None:
        """Maximum tokens per answer; None if the request sets none."""
        return self.max_tokens

    @property
    def prompts(self) -> int:
        """Number of prompts in this request."""
        is_several = isinstance(self.prompt, list) and isinstance(self.prompt[0], str)
        return len(self.prompt) if is_several else 1


CompletionsRequest = ChatRequest | CompletionRequest
