"""What may be asked of a model: the part of OpenAI's requests that vLLM is given."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MOST_CHOICES = 16
MOST_PROMPTS = 16

_INT64 = 2**63 - 1
_Stop = Annotated[str, Field(min_length=1, max_length=1000)]
# A limit makes pydantic look into the text: half of a surrogate pair is refused.
_Text = Annotated[str, Field(max_length=2**20)]
_Token = Annotated[int, Field(ge=0, le=2**31 - 1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class StreamOptions(_Strict):
    """What a stream has beside the text."""

    include_usage: bool = False
    """One more chunk, at the end, with the counts of tokens."""


class _Request(_Strict):
    model: str = Field(min_length=1, max_length=4096)
    """A model of `/v1/models`."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """0 is greedy decoding; 1 by default."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    """Answers to one prompt."""
    seed: int | None = Field(default=None, ge=-_INT64, le=_INT64)
    stop: _Stop | Annotated[list[_Stop], Field(max_length=4)] | None = None
    """Up to four texts before which the answer ends."""
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    stream: bool = False
    stream_options: StreamOptions | None = None
    """Only with `stream`."""
    user: str | None = None
    """Not used."""
    metadata: dict[str, Any] | None = None
    """Not used."""

    def forwarded(self, name: str) -> bytes:
        """The body for the server that calls the model `name`."""
        values = self.model_dump(exclude_none=True, exclude={"user", "metadata"})
        if not self.stream:
            values.pop("stream_options", None)
        return json.dumps(self._changed(values) | {"model": name}).encode()

    def _changed(self, values: dict[str, Any]) -> dict[str, Any]:
        return values


class TextPart(_Strict):
    """A piece of a message."""

    type: Literal["text"]
    text: _Text


class Message(_Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    """`developer` is taken for `system`."""
    content: _Text | list[TextPart]
    name: str | None = None
    """Not used."""


class ChatRequest(_Request):
    """The next turn of a conversation, through the model's chat template."""

    messages: list[Message] = Field(min_length=1, max_length=1000)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """Most tokens of an answer; ESSA_INFERENCE_MAX_TOKENS by default, and at most."""
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    """Only with `logprobs`."""

    @property
    def tokens(self) -> int | None:
        """Most tokens of an answer, where that was said."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def prompts(self) -> int:
        """Prompts in this request."""
        return 1

    def _changed(self, values: dict[str, Any]) -> dict[str, Any]:
        for message in values["messages"]:
            message.pop("name", None)
            if message["role"] == "developer":
                message["role"] = "system"
        return values


class CompletionRequest(_Request):
    """What follows a text, without a chat template."""

    prompt: (
        _Text
        | Annotated[list[_Text], Field(min_length=1, max_length=MOST_PROMPTS)]
        | Annotated[list[_Token], Field(min_length=1, max_length=2**20)]
    )
    """A text, several, or token ids."""
    max_tokens: int = Field(default=16, ge=1)
    logprobs: int | None = Field(default=None, ge=0, le=5)

    @property
    def tokens(self) -> int | None:
        """Most tokens of an answer."""
        return self.max_tokens

    @property
    def prompts(self) -> int:
        """Prompts in this request."""
        is_several = isinstance(self.prompt, list) and isinstance(self.prompt[0], str)
        return len(self.prompt) if is_several else 1


CompletionsRequest = ChatRequest | CompletionRequest
