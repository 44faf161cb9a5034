"""Encoding of a conversation as the token ids that a classifier reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reward.errors import RewardError

Turns = Sequence[Mapping[str, str]]


class ConversationTokens:
    """Applies the tokenizer's chat template; without one, turns are joined by blank lines.

    A plain join names no roles and gets the special tokens that the tokenizer adds by itself, such
    as `[CLS]`; a chat template brings its own.

    Args:
        limit: largest number of tokens in a conversation.
    """

    def __init__(self, tokenizer: Any, limit: int) -> None:
        self._tokenizer = tokenizer
        self._limit = limit
        self._has_template = bool(tokenizer.chat_template)
        self._openers = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {None}

    def encode(self, turns: Turns) -> list[int]:
        """Return the token ids of a conversation whose last turn is the answer.

        If it is too long, its beginning is cut, but a first special token such as `[CLS]` stays.

        Raises:
            RewardError: there is no token, or the answer alone is too long.
        """
        # Models that write byte by byte may leave half a surrogate pair, which tokenizers refuse.
        whole = [
            {"role": turn["role"], "content": turn["content"].encode("utf-8", "replace").decode()}
            for turn in turns
        ]
        text = self._render(whole)
        ids = self._ids(text, with_specials=not self._has_template)
        if not ids:
            raise RewardError("there is no text for the model to read")
        if len(ids) <= self._limit:
            return ids
        return self._cut(ids, text[self._answer_start(whole, text) :])

    def _render(self, turns: Turns, *, is_open: bool = False) -> str:
        if not self._has_template:
            return "\n\n".join([*(turn["content"] for turn in turns), *([""] if is_open else [])])
        return self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=is_open
        )

    def _answer_start(self, turns: Turns, text: str) -> int:
        """Return the index in the text at which the answer begins, or one shortly before it."""
        if len(turns) == 1:
            return 0
        before = self._render(turns[:-1], is_open=True)
        pairs = enumerate(zip(before, text, strict=False))
        return next((index for index, (a, b) in pairs if a != b), min(len(before), len(text)))

    def _cut(self, ids: list[int], answer: str) -> list[int]:
        first = ids[:1] if ids[0] in self._openers else []
        # Special tokens around a plain text; a chat template has written its own into the answer.
        specials = len(first) if self._has_template else len(self._ids("", with_specials=True))
        needed = len(self._ids(answer, with_specials=False)) + specials
        if needed > self._limit:
            raise RewardError(
                f"the answer alone takes {needed} tokens, the reward model reads {self._limit}; "
                "raise `max_length` as far as the model allows, or lower rollout.max_tokens"
            )
        return first + ids[len(ids) - self._limit + len(first) :]

    def _ids(self, text: str, *, with_specials: bool) -> list[int]:
        return self._tokenizer(text, add_special_tokens=with_specials, verbose=False)["input_ids"]
